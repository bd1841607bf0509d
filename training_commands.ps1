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

.NOTES
Works in Windows PowerShell 5.1 and PowerShell 7.
#>
[CmdletBinding()]
param(
    # The folder of the ETL9G files.
    [ValidateNotNullOrEmpty()]
    [string] $EtlDir = 'ETL9G',

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
    [ValidateSet('random', 'writers')]
    [string] $Split = 'random',

    # The side of the prepared images, in pixels.
    [ValidateSet(32, 48, 64, 96, 128)]
    [int] $ImageSize = 64,

    # The version of the network.
    [ValidateSet('1.0', '2.0', '2.1', '3.0')]
    [string] $ModelVersion = '3.0',

    # What the ONNX file is made for.
    [ValidateSet('tract', 'ort-tract', 'strict')]
    [string] $Backend = 'tract',

    # A short run to see that everything works: 2 epochs on 15000 samples, unless -Epochs or -SampleLimit say otherwise.
    [switch] $Quick,

    # The Python to use instead of the one in venv.
    [string] $Python = ''
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

function Find-Python {
    # The virtual environment's Python where there is one (Windows; elsewhere), else the one on the path.
    foreach ($path in 'venv/Scripts/python.exe', 'venv/bin/python') {
        $candidate = Join-Path -Path $PSScriptRoot -ChildPath $path
        if (Test-Path -LiteralPath $candidate -PathType Leaf) {
            return $candidate
        }
    }
    return 'python'
}

function Invoke-Stage {
    # Shows and runs a stage: its script, then its options; a failure throws.
    $name = $args[0]
    $options = @($args | Select-Object -Skip 1)
    Write-Host ''
    Write-Host "> python $($args | ForEach-Object { if ("$_" -match '\s') { "'$_'" } else { $_ } })"
    & $Python (Join-Path -Path $PSScriptRoot -ChildPath $name) @options
    if ($LASTEXITCODE -ne 0) {
        throw "$name failed with exit status $LASTEXITCODE; its messages are above."
    }
}

if (-not $Python) { $Python = Find-Python }
if ($Quick -and -not $PSBoundParameters.ContainsKey('Epochs')) { $Epochs = 2 }
if ($Quick -and -not $PSBoundParameters.ContainsKey('SampleLimit')) { $SampleLimit = 15000 }

$rate = $LearningRate.ToString([System.Globalization.CultureInfo]::InvariantCulture)  # 0.001 also where 0,001 is usual
$limit = @()
if ($SampleLimit -gt 0) { $limit = @('--sample-limit', $SampleLimit) }
$checkpoint = Join-Path -Path $OutputDir -ChildPath 'best_kanji_model.pth'
$model = Join-Path -Path $OutputDir -ChildPath "kanji_model_etl9g_${ImageSize}x${ImageSize}_3036classes_$Backend.onnx"
$mapping = Join-Path -Path $OutputDir -ChildPath 'kanji_etl9g_enhanced_mapping.json'
$evaluation = Join-Path -Path $OutputDir -ChildPath 'evaluation'

# Is everything there?
Invoke-Stage preflight_check.py --etl-dir $EtlDir

# ETL9G files -> dataset, and a look at it
Invoke-Stage prepare_etl9g_dataset.py --etl-dir $EtlDir --output-dir $DataDir --size $ImageSize
Invoke-Stage test_etl9g_setup.py --data-dir $DataDir --test-model

# dataset -> best_kanji_model.pth
Invoke-Stage train_etl9g_model.py --data-dir $DataDir --output-dir $OutputDir --epochs $Epochs --batch-size $BatchSize --learning-rate $rate --model-version $ModelVersion --split $Split @limit

# best_kanji_model.pth -> ONNX, SafeTensors; and the characters of the classes
Invoke-Stage convert_to_onnx.py --model-path $checkpoint --target-backend $Backend --data-dir $DataDir
Invoke-Stage convert_to_safetensors.py --model-path $checkpoint --verify
Invoke-Stage generate_enhanced_mapping.py --output-path $mapping

# How well does the exported file recognize the held-out samples?
Invoke-Stage evaluate_model.py --model $model --data-dir $DataDir --split test --output-dir $evaluation
