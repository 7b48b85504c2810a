@echo off
rem The first start of a system that LPMOS installed: its commands, and that it came up.
setlocal EnableExtensions DisableDelayedExpansion
chcp 65001 >nul
set "lpmos_here=%~dp0"
del /q /f "%SystemRoot%\Panther\unattend.xml" "%SystemRoot%\Panther\Unattend\unattend.xml" 2>nul
set "lpmos_step="
@STEPS@
>"%lpmos_here%said.json" echo @UP@
goto say

:step
if defined lpmos_step exit /b 0
echo command %1
setlocal
call "%lpmos_here%values.cmd"
"%ComSpec%" /d /c "%lpmos_here%%2" >"%lpmos_here%step.log" 2>&1
set "lpmos_code=%errorlevel%"
type "%lpmos_here%step.log"
endlocal & set "lpmos_code=%lpmos_code%"
if not "%lpmos_code%"=="0" set "lpmos_step=%1"
exit /b 0

:broken
"%lpmos_here%curl.exe" -fsS -m 30 -o nul --data-binary "@%lpmos_here%step.log" "@URL@/log" 2>nul
>"%lpmos_here%said.json" echo @FAILED@

:say
set /a lpmos_tries=0
:saying
"%lpmos_here%curl.exe" -sS -m 30 -o nul -w "%%{http_code}" -H "Content-Type: application/json" --data-binary "@%lpmos_here%said.json" "@INSTALLED@" >"%lpmos_here%status.txt" 2>nul
set "lpmos_status=000"
for /f "usebackq" %%s in ("%lpmos_here%status.txt") do set "lpmos_status=%%s"
if "%lpmos_status%"=="200" exit /b 0
if "%lpmos_status:~0,1%"=="4" if not "%lpmos_status%"=="408" if not "%lpmos_status%"=="425" if not "%lpmos_status%"=="429" exit /b 1
set /a lpmos_tries+=1
if %lpmos_tries% GEQ 120 exit /b 1
ping -n 31 127.0.0.1 >nul 2>&1
goto saying
