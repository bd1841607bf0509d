<#
.SYNOPSIS
Sets up the toolkit: a virtual environment in venv with every package.

.DESCRIPTION
Finds a Python, if possible one of 3.10 to 3.14, and runs setup_etl9g.py with it. PyTorch comes with CUDA where the
machine has an NVIDIA GPU. The script may be run again at any time: what is already there is kept.

.EXAMPLE
.\setup_etl9g.ps1 -Demo

.NOTES
Works in Windows PowerShell 5.1 and PowerShell 7. Where Windows refuses to run scripts:
powershell -ExecutionPolicy Bypass -File setup_etl9g.ps1 -Demo
#>
[CmdletBinding()]
param(
    # Then runs every stage on sample files, in the folder demo.
    [switch] $Demo,

    # Then runs the tests.
    [switch] $Test,

    # Installs PyTorch's CPU wheels even if there is a GPU.
    [switch] $Cpu
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$newest = '3.14'  # the newest Python that was tested: kanjinet/system/machine.py

# What to ask a Python, the best first: whether the packages were tested with it; whether they may have wheels for a
# newer one; whether it can at least say why it is refused.
$wheels = 'v = sys.version_info[:2]; bad = sys.maxsize < 2**32 or sysconfig.get_platform() == ''win-arm64'''
$checks = @(
    "import sys, sysconfig; $wheels; sys.exit(bad or not (3, 10) <= v <= ($($newest -replace '\.', ', ')))"
    "import sys, sysconfig; $wheels; sys.exit(bad or v < (3, 10))"
    'import sys; sys.exit(sys.version_info < (3, 7))'
)

function Test-Python {
    # Whether a command is a Python that ends a check with exit status 0.
    param([string[]] $Command, [string] $Check)

    $ErrorActionPreference = 'Continue'  # Windows PowerShell turns redirected messages into errors
    $PSNativeCommandUseErrorActionPreference = $false  # the status is looked at here, whatever a profile sets
    $options = @($Command | Select-Object -Skip 1)
    & $Command[0] @options -c $Check *> $null
    return $LASTEXITCODE -eq 0
}

function Find-Python {
    # The command, as an array of words, of the first Python that passes the best check.
    $versions = 14..10 | ForEach-Object { "3.$_" }
    $commands = @(@('python'), @('python3')) + @($versions | ForEach-Object { , @('py', "-$_") }) + @(, @('py', '-3'))
    $commands += @($versions | ForEach-Object { , @("python$_") })
    $commands = @($commands | Where-Object { Get-Command -Name $_[0] -CommandType Application -ErrorAction Ignore })
    foreach ($check in $checks) {
        foreach ($command in $commands) {
            if (Test-Python -Command $command -Check $check) { return $command }
        }
    }
    $remedy = "install Python $newest from python.org"
    if (Get-Command -Name 'pymanager' -CommandType Application -ErrorAction Ignore) { $remedy = "run 'py install $newest'" }
    throw "no Python found: $remedy, then run this script again."
}

$status = 1  # what the script ends with where something fails
try {
    $python = @(Find-Python)
    $pythonOptions = @($python | Select-Object -Skip 1)
    $setupOptions = @()
    if ($Demo) { $setupOptions += '--demo' }
    if ($Test) { $setupOptions += '--test' }
    if ($Cpu) { $setupOptions += '--cpu' }

    $ErrorActionPreference = 'Continue'  # as in Test-Python
    $PSNativeCommandUseErrorActionPreference = $false
    & $python[0] @pythonOptions (Join-Path -Path $PSScriptRoot -ChildPath 'setup_etl9g.py') @setupOptions
    if ($LASTEXITCODE -ne 0) {
        $status = $LASTEXITCODE
        throw "setup_etl9g.py failed with exit status $status; its messages are above."
    }
} catch {
    [Console]::Error.WriteLine("error: $($_.Exception.Message)")
    exit $status
}
