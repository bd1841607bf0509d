<#
.SYNOPSIS
Sets up the toolkit: a virtual environment in venv with every package.

.DESCRIPTION
Finds a Python 3.10 to 3.14 and runs setup_etl9g.py with it. PyTorch comes with CUDA where the machine has an NVIDIA
GPU. The script may be run again at any time: what is already there is kept.

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

function Test-Python {
    # Whether a command is a Python that the packages support.
    param([string[]] $Command)

    if (-not (Get-Command -Name $Command[0] -CommandType Application -ErrorAction SilentlyContinue)) {
        return $false
    }
    $ErrorActionPreference = 'Continue'  # Windows PowerShell turns redirected messages into errors
    $options = @($Command | Select-Object -Skip 1)
    $check = 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'
    & $Command[0] @options -c $check 2>$null | Out-Null
    return $LASTEXITCODE -eq 0
}

function Find-Python {
    # The command, as an array of words, of the first Python that the packages support.
    $commands = @(
        @('python'), @('python3'),
        @('py', '-3.14'), @('py', '-3.13'), @('py', '-3.12'), @('py', '-3.11'), @('py', '-3.10'),
        @('python3.14'), @('python3.13'), @('python3.12'), @('python3.11'), @('python3.10')
    )
    foreach ($command in $commands) {
        if (Test-Python -Command $command) {
            return $command
        }
    }
    throw 'No Python 3.10 to 3.14 found: install one from python.org, then run this script again.'
}

$python = @(Find-Python)
$pythonOptions = @($python | Select-Object -Skip 1)
$setupOptions = @()
if ($Demo) { $setupOptions += '--demo' }
if ($Test) { $setupOptions += '--test' }
if ($Cpu) { $setupOptions += '--cpu' }

& $python[0] @pythonOptions (Join-Path -Path $PSScriptRoot -ChildPath 'setup_etl9g.py') @setupOptions
if ($LASTEXITCODE -ne 0) {
    throw "setup_etl9g.py failed with exit status $LASTEXITCODE; its messages are above."
}
