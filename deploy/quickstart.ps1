# Starts batchmill with PostgreSQL and two workers on this machine, and says how to use it.
#   deploy\quickstart.ps1 [-Workers 2]
# Safe to run again: secrets that are there are kept. Needs Docker Desktop.
param([ValidateRange(1, 1000)][int]$Workers = 2)
$ErrorActionPreference = 'Stop'
Set-Location $PSScriptRoot

docker compose version *> $null
if ($LASTEXITCODE -ne 0) {
    Write-Error 'Docker with Compose 2 is needed: https://docs.docker.com/desktop/'
}

function New-Secret([int]$Bytes) {
    $buffer = [byte[]]::new($Bytes)
    $generator = [System.Security.Cryptography.RandomNumberGenerator]::Create()
    $generator.GetBytes($buffer)
    return -join ($buffer | ForEach-Object { $_.ToString('x2') })
}

function Set-Secret([string]$Name, [string]$Value) {
    # Without a line break and without a byte order mark.
    [System.IO.File]::WriteAllText((Join-Path $PSScriptRoot "secrets/$Name"), $Value)
}

New-Item -ItemType Directory -Force -Path 'secrets' | Out-Null
if (-not (Test-Path 'secrets/postgres_password')) { Set-Secret 'postgres_password' (New-Secret 24) }
if (-not (Test-Path 'secrets/admin_key')) { Set-Secret 'admin_key' ('bm_' + (New-Secret 32)) }
if (-not (Test-Path 'secrets/secret_keys')) { Set-Secret 'secret_keys' (New-Secret 32) }
$password = Get-Content -Raw 'secrets/postgres_password'
Set-Secret 'database_url' "postgresql+psycopg://batchmill:${password}@postgres/batchmill"

docker compose up --detach --build --wait --scale "worker=$Workers"
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }

$address = docker compose port server 3001
Write-Output @"

batchmill is up with $Workers workers: http://$address
  `$env:BATCHMILL_SERVER = 'http://$address'
  `$env:BATCHMILL_API_KEY = Get-Content -Raw '$PSScriptRoot\secrets\admin_key'
  batchmill submit web photos\ -o small\          from any machine that reaches this one
  docker compose -f $PSScriptRoot\compose.yaml logs -f worker
  docker compose -f $PSScriptRoot\compose.yaml up -d --scale worker=5
  docker compose -f $PSScriptRoot\compose.yaml down        stops it; files and database stay
"@
