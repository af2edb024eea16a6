# Sets up everything on Windows: `.\setup_env.ps1`, or `. .\setup_env.ps1` to have the environment activated as well.
# `.\setup_env.ps1 --help` lists the options.

$setup = Join-Path $PSScriptRoot "scripts/setup_env.py"
$base = Get-Command py, python3, python -ErrorAction SilentlyContinue | Select-Object -First 1
if (-not $base) {
    Write-Error "Python 3.10, 3.11 or 3.12 is needed: install one from https://www.python.org/downloads/"
    return
}
$python = & $base.Source $setup --print-python @args
if ($python) {
    $activate = Join-Path (Split-Path $python) "Activate.ps1"
    if (($MyInvocation.InvocationName -eq ".") -and (Test-Path $activate)) {
        . $activate
    } elseif (Test-Path $activate) {
        Write-Output "To activate the environment: & '$activate'"
    }
}
