<#
.SYNOPSIS
Runs the stages in order: from ETL9G files to a trained model, its exports and its accuracy.

.DESCRIPTION
Each stage is a script that can also be run alone; its command line is shown before it runs. A stage that fails stops
the workflow. With venv set up by setup_etl9g.ps1, the stages use its Python.

.EXAMPLE
.\training_commands.ps1 -EtlDir D:\ETL9G -Quick

.EXAMPLE
.\training_commands.ps1 -EtlDir D:\ETL9G -OutputDir run1 -Epochs 30 -BatchSize 256

.EXAMPLE
.\training_commands.ps1 -EtlDir D:\ETL9G -Backend tract, ort-tract, strict -Resume

.NOTES
Works in Windows PowerShell 5.1 and PowerShell 7.
#>
[CmdletBinding()]
param(
    # The folder of the ETL9G files.
    [ValidateNotNullOrEmpty()]
    [string] $EtlDir = 'ETL9G',

    # Whose characters are learned: etl9g has 3,036, japanese 6,594.
    [ValidateSet('etl9g', 'japanese')]
    [string] $Characters = 'etl9g',

    # The folder of the prepared dataset.
    [ValidateNotNullOrEmpty()]
    [string] $DataDir = 'dataset',

    # The folder of the checkpoint, the exports and the evaluation.
    [ValidateNotNullOrEmpty()]
    [string] $OutputDir = '.',

    # How often training goes through the data.
    [ValidateRange(1, 100000)]
    [int] $Epochs = 30,

    # How many images a training step takes.
    [ValidateRange(1, 100000)]
    [int] $BatchSize = 64,

    # The learning rate.
    [ValidateRange(0.0000001, 10)]
    [double] $LearningRate = 0.001,

    # Trains on this many samples, spread evenly over the characters; 0 takes all.
    [ValidateRange(0, 607200)]
    [int] $SampleLimit = 0,

    # How validation and test samples are held out: random takes some of each character; writers takes whole writers,
    # so that the accuracy is that for writers never seen.
    # As etl9, the first and the last 20 of the 200 data sets are the test, as in publications.
    [ValidateSet('random', 'writers', 'etl9')]
    [string] $Split = 'random',

    # The side of the prepared images, in pixels.
    [ValidateSet(32, 48, 64, 96, 128)]
    [int] $ImageSize = 64,

    # The version of the network.
    [ValidateSet('1.0', '2.0', '2.1', '3.0')]
    [string] $ModelVersion = '3.0',

    # What the ONNX files are made for, one file each: tract, ort-tract, strict.
    [ArgumentCompleter({ 'tract', 'ort-tract', 'strict' })]
    [ValidatePattern('^(tract|ort-tract|strict)(,(tract|ort-tract|strict))*$')]
    [string[]] $Backend = 'tract',

    # Where to train, and to run the exported files (not on mps, which they lack); auto takes a GPU where there is one.
    [ValidateSet('auto', 'cpu', 'cuda', 'mps')]
    [string] $DeviceType = 'auto',

    # Begins with this stage; what the earlier ones write must be there.
    [ValidateSet('preflight', 'prepare', 'check', 'train', 'onnx', 'safetensors', 'mapping', 'evaluate')]
    [string] $From = 'preflight',

    # Goes on after an interruption, with the same command: what is prepared and trained is kept.
    [switch] $Resume,

    # A short run to see that everything works: 2 epochs on 15000 samples, unless -Epochs or -SampleLimit say otherwise.
    [switch] $Quick,

    # The Python to use instead of the one in venv.
    [string] $Python = ''
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

# Is the stage of -From reached? What does the script end with where something fails?
$state = @{ IsReached = $false; Status = 1 }

function Resolve-Folder {
    # A folder's path as other programs know it: without ~ and drives of PowerShell, and without a separator at its end,
    # which Windows PowerShell 5.1 passes on as a quotation mark.
    param([string] $Path)

    $provider = $null
    $drive = $null
    $paths = $ExecutionContext.SessionState.Path
    $resolved = $paths.GetUnresolvedProviderPathFromPSPath($Path, [ref] $provider, [ref] $drive)
    if ($provider.Name -ne 'FileSystem') { throw "${Path}: not a folder; PowerShell's $($provider.Name) has this name." }
    $trimmed = $resolved.TrimEnd('\', '/')
    if ($trimmed -match '^$|:$') { return $resolved }  # the root itself
    return $trimmed
}

function Test-Python {
    # Whether a command starts a Python; the python.exe that leads to Windows' store does not.
    param([string] $Command)

    $ErrorActionPreference = 'Continue'  # Windows PowerShell turns redirected messages into errors
    try {
        & $Command --version *> $null
        return $LASTEXITCODE -eq 0
    } catch {
        return $false
    }
}

function Find-Python {
    # The Python of -Python, else the virtual environment's (Windows; elsewhere), else the one on the path.
    if ($Python) {
        $candidate = if ($Python -match '[\\/]') { Resolve-Folder -Path $Python } else { $Python }
        if (Test-Python -Command $candidate) { return $candidate }
        throw "-Python ${Python}: no Python that starts."
    }
    $venv = Join-Path -Path $PSScriptRoot -ChildPath 'venv'
    foreach ($candidate in "$venv/Scripts/python.exe", "$venv/bin/python", 'python', 'python3') {
        if (Test-Python -Command $candidate) { return $candidate }
    }
    throw 'no Python found: run setup_etl9g.ps1 first, it makes one with every package in venv.'
}

function Invoke-Stage {
    # Shows and runs a stage: its name for -From, its script, then its options; a failure throws.
    $stage, $name, $options = $args
    if ($stage -eq $From) { $state.IsReached = $true }
    if (-not $state.IsReached) { return }
    $words = @($name) + $options | ForEach-Object { if ("$_" -match '^[\w./\\:,=-]+$') { $_ } else { "'$("$_" -replace "'", "''")'" } }
    Write-Host ''
    Write-Host "> python $words"
    $ErrorActionPreference = 'Continue'  # as in Test-Python
    $PSNativeCommandUseErrorActionPreference = $false  # the status is looked at here, whatever a profile sets
    & $Python (Join-Path -Path $PSScriptRoot -ChildPath $name) @options
    if ($LASTEXITCODE -ne 0) {
        $state.Status = $LASTEXITCODE
        throw "$name failed with exit status $LASTEXITCODE; its messages are above. The same command with -Resume goes on."
    }
}

function Invoke-Workflow {
    # Runs the stages in their order.

    # Is everything there?
    Invoke-Stage preflight preflight_check.py --etl-dir $EtlDir

    # ETL9G files -> dataset, and a look at it
    Invoke-Stage prepare prepare_etl9g_dataset.py --etl-dir $EtlDir --output-dir $DataDir --size $ImageSize @characterSet
    Invoke-Stage check test_etl9g_setup.py --data-dir $DataDir --test-model

    # dataset -> best_kanji_model.pth
    Invoke-Stage train train_etl9g_model.py --data-dir $DataDir --output-dir $OutputDir --epochs $Epochs --batch-size $BatchSize --learning-rate $rate --model-version $ModelVersion --split $Split @limit @device @again

    # best_kanji_model.pth -> ONNX, SafeTensors; and the characters of the classes
    foreach ($each in $backends) {
        Invoke-Stage onnx convert_to_onnx.py --model-path $checkpoint --target-backend $each --data-dir $DataDir @fileDevice
    }
    Invoke-Stage safetensors convert_to_safetensors.py --model-path $checkpoint --verify
    Invoke-Stage mapping generate_enhanced_mapping.py --output-path $mapping @characterSet

    # How well do the exported files recognize the held-out samples?
    Invoke-Stage evaluate evaluate_model.py --model @models --data-dir $DataDir --split test --output-dir $evaluation @fileDevice
}

try {
    $EtlDir, $DataDir, $OutputDir = $EtlDir, $DataDir, $OutputDir | ForEach-Object { Resolve-Folder -Path $_ }
    $Python = Find-Python
    if ($Quick -and -not $PSBoundParameters.ContainsKey('Epochs')) { $Epochs = 2 }
    if ($Quick -and -not $PSBoundParameters.ContainsKey('SampleLimit')) { $SampleLimit = 15000 }

    $rate = $LearningRate.ToString([System.Globalization.CultureInfo]::InvariantCulture)  # 0.001 also where 0,001 is usual
    $limit = @(if ($SampleLimit -gt 0) { '--sample-limit', $SampleLimit })
    $device = @(if ($DeviceType -ne 'auto') { '--device', $DeviceType })
    $fileDevice = @(if ($DeviceType -ne 'mps') { $device })
    $characterSet = @(if ($Characters -ne 'etl9g') { '--characters', $Characters })
    $again = @(if ($Resume) { '--resume' })
    $backends = $Backend -split ',' | Select-Object -Unique  # powershell -File passes 'tract,strict' as one word
    $checkpoint = Join-Path -Path $OutputDir -ChildPath 'best_kanji_model.pth'
    $classes = @{ etl9g = 3036; japanese = 6594 }[$Characters]
    $models = @($backends | ForEach-Object {
            Join-Path -Path $OutputDir -ChildPath "kanji_model_${Characters}_${ImageSize}x${ImageSize}_${classes}classes_$_.onnx"
        })
    $mapping = Join-Path -Path $OutputDir -ChildPath "kanji_${Characters}_enhanced_mapping.json"
    $evaluation = Join-Path -Path $OutputDir -ChildPath 'evaluation'
    Invoke-Workflow
} catch {
    [Console]::Error.WriteLine("error: $($_.Exception.GetBaseException().Message)")
    exit $state.Status
}
