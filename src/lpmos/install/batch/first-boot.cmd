@echo off
rem The first start of a system that LPMOS installed: its commands, and that it came up.
setlocal EnableExtensions DisableDelayedExpansion
chcp 65001 >nul
set "lpmos_here=%~dp0"
del /q /f "%SystemRoot%\Panther\unattend.xml" "%SystemRoot%\Panther\Unattend\unattend.xml" 2>nul
set "lpmos_step="
@STEPS@
call :forget
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

:forget
rem What is secret is gone before the word is said, which may take an hour.
del /q /f "%lpmos_here%values.cmd" "%lpmos_here%step-*.cmd" "%lpmos_here%*.log" 2>nul
exit /b 0

:cut
rem The end alone of a long log, from a whole line on: half a secret is not known as one.
"%lpmos_here%curl.exe" -fsS -r -32000 -o "%lpmos_here%cut.log" "file:///%lpmos_log:\=/%" 2>nul
if errorlevel 1 exit /b 0
for /f "usebackq skip=1 delims=" %%l in ("%lpmos_here%cut.log") do >>"%lpmos_here%end.log" echo.%%l
set "lpmos_log=%lpmos_here%end.log"
exit /b 0

:broken
set "lpmos_log=%lpmos_here%step.log"
for %%f in ("%lpmos_log%") do if %%~zf GTR 32000 call :cut
"%lpmos_here%curl.exe" -fsS -m 30 -H "traceparent: @TRACE@" -o nul --data-binary "@%lpmos_log%" "@URL@/log?file=step.log&first=1" 2>nul
call :forget
>"%lpmos_here%said.json" echo @FAILED@

:say
set /a lpmos_tries=0
:saying
"%lpmos_here%curl.exe" -sS -m 30 -H "traceparent: @TRACE@" -o nul -w "%%{http_code}" -H "Content-Type: application/json" --data-binary "@%lpmos_here%said.json" "@INSTALLED@" >"%lpmos_here%status.txt" 2>nul
set "lpmos_status=000"
for /f "usebackq" %%s in ("%lpmos_here%status.txt") do set "lpmos_status=%%s"
if "%lpmos_status%"=="200" exit /b 0
if "%lpmos_status:~0,1%"=="4" if not "%lpmos_status%"=="408" if not "%lpmos_status%"=="425" if not "%lpmos_status%"=="429" exit /b 1
set /a lpmos_tries+=1
if %lpmos_tries% GEQ 120 exit /b 1
ping -n 31 127.0.0.1 >nul 2>&1
goto saying
