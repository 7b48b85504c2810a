@echo off
rem Installs Windows for LPMOS. Started by winpeshl.ini; when it ends, Windows PE restarts.
setlocal EnableExtensions DisableDelayedExpansion
@VALUES@
set "lpmos_dir=%SystemDrive%\lpmos"
set "lpmos_out=%lpmos_dir%\out.txt"
set "lpmos_kept=W:\Windows\Setup\Scripts\lpmos"
set "lpmos_last=10"
if "%~1"=="apply" goto apply
if not exist "%lpmos_dir%\" md "%lpmos_dir%"
echo LPMOS: Windows PE runs
wpeinit
call :insist "%lpmos_dir%\unattend.xml" "%lpmos_url%/answer"
if errorlevel 1 goto silent
call :progress partitioning 3 "Windows PE runs"

wpeutil UpdateBootInfo >nul 2>&1
set "lpmos_firmware="
for /f "tokens=3" %%a in ('reg query HKLM\System\CurrentControlSet\Control /v PEFirmwareType') do set "lpmos_firmware=%%a"
if not "%lpmos_firmware%"=="@FIRMWARE@" (
    call :failed "the machine was started by another firmware than the one of its report"
    goto stopped
)

set /a lpmos_count=0
set "lpmos_disk="
for /l %%d in (0,1,127) do call :look %%d
if not "%lpmos_count%"=="1" (
    call :failed "of the disks here %lpmos_count% have the mark of this install and not one"
    goto stopped
)
call :progress partitioning 5 "disk %lpmos_disk% is the one of the plan"
>"%lpmos_dir%\disk.txt" echo select disk %lpmos_disk%
@PARTITIONS@
diskpart /s "%lpmos_dir%\disk.txt" >"%lpmos_out%" 2>&1
if errorlevel 1 (
    call :failed "diskpart could not make the partitions"
    goto stopped
)
md W:\lpmos
if errorlevel 1 (
    call :failed "there is no drive W: after diskpart"
    goto stopped
)
call :progress downloading 10 "0 of %lpmos_mb% MB"
set /a lpmos_tries=0
set "lpmos_had=0"
:download
curl -fsS -C - -m 30 -H "traceparent: %lpmos_trace%" -o W:\lpmos\install.wim "%lpmos_install%" 2>"%lpmos_out%"
set "lpmos_size="
for %%f in (W:\lpmos\install.wim) do set "lpmos_size=%%~zf"
if not defined lpmos_size set "lpmos_size=0"
if "%lpmos_size%"=="%lpmos_bytes%" goto downloaded
set /a lpmos_tries+=1
if not "%lpmos_size%"=="%lpmos_had%" set /a lpmos_tries=0
set "lpmos_had=%lpmos_size%"
if %lpmos_tries% GEQ 30 (
    call :failed "the image of Windows cannot be downloaded: %lpmos_size% of %lpmos_bytes% bytes"
    goto stopped
)
set "lpmos_done=%lpmos_size:~0,-6%"
if not defined lpmos_done set "lpmos_done=0"
set /a lpmos_last=10+lpmos_done*40/lpmos_mb
call :progress downloading %lpmos_last% "%lpmos_done% of %lpmos_mb% MB"
if %lpmos_tries% GTR 0 call :pause 5
goto download

:downloaded
rem Where Windows PE has certutil, the digest is compared; dism verifies each file in any case.
where certutil >nul 2>&1
if errorlevel 1 goto begin
set "lpmos_right="
certutil -hashfile W:\lpmos\install.wim SHA256 >"%lpmos_out%" 2>&1
for /f "usebackq delims=" %%l in ("%lpmos_out%") do call :digest "%%l"
if not defined lpmos_right (
    call :failed "the image of Windows arrived changed: its SHA-256 is another one"
    goto stopped
)

:begin
call :progress installing 52 "applying %lpmos_image%"
md W:\lpmos\scratch
start "" /b "%ComSpec%" /d /c call "%~f0" apply
set "lpmos_said=0"
set /a lpmos_turns=0
set /a lpmos_still=0
:applying
call :pause 15
if exist "%lpmos_dir%\applied" goto applied
if exist "%lpmos_dir%\not-applied" (
    call :failed "dism could not apply the image"
    goto stopped
)
set "lpmos_percent="
for /f "usebackq tokens=1,2 delims=[]=.,%% " %%a in ("%lpmos_out%") do call :number "%%a" "%%b"
if not defined lpmos_percent set "lpmos_percent=0"
set /a lpmos_now=52+lpmos_percent*33/100
rem A turn is a quarter of a minute; what stands still is said again every two minutes, and for
rem three hours: a whole image takes less also where dism tells no percentage until it is done.
set /a lpmos_turns+=1
set /a lpmos_still+=1
if not "%lpmos_now%"=="%lpmos_said%" set /a lpmos_still=0
if %lpmos_still% GEQ 720 (
    call :failed "dism stands still at %lpmos_percent% of 100 for three hours"
    goto stopped
)
set /a lpmos_minutes=lpmos_turns/4
set /a lpmos_rest=lpmos_turns%%8
if not "%lpmos_now%"=="%lpmos_said%" set "lpmos_rest=0"
if "%lpmos_rest%"=="0" call :progress installing %lpmos_now% "dism applies the image, %lpmos_minutes% min so far"
set "lpmos_said=%lpmos_now%"
goto applying

:applied
call :progress configuring 86 "making it start"
bcdboot W:\Windows /s S: /f @BOOT@ >"%lpmos_out%" 2>&1
if errorlevel 1 (
    call :failed "bcdboot could not make the disk start"
    goto stopped
)
call :progress configuring 90 "the files of this machine"
if not exist W:\Windows\Panther\ md W:\Windows\Panther
copy /y "%lpmos_dir%\unattend.xml" W:\Windows\Panther\unattend.xml >nul
if errorlevel 1 goto unfinished
if not exist "%lpmos_kept%\" md "%lpmos_kept%"
rem For SYSTEM and Administrators alone; a Windows PE without icacls leaves it to the first start.
icacls "%lpmos_kept%" /inheritance:r /grant "*S-1-5-18:(OI)(CI)F" "*S-1-5-32-544:(OI)(CI)F" >nul 2>&1
copy /y "%SystemRoot%\System32\curl.exe" "%lpmos_kept%\curl.exe" >nul
if errorlevel 1 goto unfinished
@FETCH@
rd /s /q W:\lpmos
call :insist "%lpmos_dir%\installed.txt" "%lpmos_url%/installed"
if errorlevel 1 goto silent
echo LPMOS: the installed system starts
wpeutil reboot
exit /b 0

:unfinished
call :failed "the files of this machine could not be written"
goto stopped

:silent
echo LPMOS: the region does not answer; this machine restarts.
call :pause 30
exit /b 1

:stopped
echo LPMOS: the install failed; the region knows why. Leave this by `exit` to restart.
"%ComSpec%"
exit /b 1

:apply
dism /Apply-Image /ImageFile:W:\lpmos\install.wim /Index:@INDEX@ /ApplyDir:W:\ /Verify@CHECK@ /ScratchDir:W:\lpmos\scratch >"%lpmos_out%" 2>&1
if errorlevel 1 (
    >"%lpmos_dir%\not-applied" echo no
) else (
    >"%lpmos_dir%\applied" echo yes
)
exit

:look
rem Counts the disk of this number where its id, which stands in braces, is the mark.
>"%lpmos_dir%\look.txt" echo select disk %1
>>"%lpmos_dir%\look.txt" echo uniqueid disk
diskpart /s "%lpmos_dir%\look.txt" >"%lpmos_out%" 2>&1
if errorlevel 1 exit /b 0
set "lpmos_hit="
for /f "usebackq tokens=2 delims={}" %%g in ("%lpmos_out%") do if /i "%%g"=="%lpmos_mark%" set "lpmos_hit=1"
if not defined lpmos_hit exit /b 0
set /a lpmos_count+=1
set "lpmos_disk=%1"
exit /b 0

:digest
rem Whether this line is the digest, which older versions of certutil write with spaces in it.
set "lpmos_line=%~1"
if not defined lpmos_line exit /b 0
if /i "%lpmos_line: =%"=="%lpmos_digest%" set "lpmos_right=1"
exit /b 0

:number
rem The percentage of a line of dism: a number with a number after its point.
for /f "delims=0123456789" %%x in ("%~1%~2") do exit /b 0
if "%~2"=="" exit /b 0
set "lpmos_percent=%~1"
exit /b 0

:progress
echo LPMOS: %~3
curl -fsS -m 30 -H "traceparent: %lpmos_trace%" -o nul -G --data-urlencode "message=%~3" "%lpmos_url%/progress?stage=%~1&percent=%~2" 2>nul
exit /b 0

:failed
rem Said once, with what the last program said.
echo LPMOS: %~1
if exist "%lpmos_out%" curl -fsS -m 30 -H "traceparent: %lpmos_trace%" -o nul --data-binary "@%lpmos_out%" "%lpmos_url%/log?file=out.txt&first=1" 2>nul
set /a lpmos_failing=0
:failing
curl -fsS -m 30 -H "traceparent: %lpmos_trace%" -o nul -G --data-urlencode "message=%~1" "%lpmos_url%/failed" 2>nul
if not errorlevel 1 exit /b 0
set /a lpmos_failing+=1
if %lpmos_failing% GEQ 30 exit /b 1
call :pause 10
goto failing

:insist
rem Fetches a URL into a file, for up to five minutes.
set /a lpmos_insisting=0
:insisting
curl -fsS -m 30 -H "traceparent: %lpmos_trace%" -o "%~1" "%~2" 2>nul
if not errorlevel 1 exit /b 0
set /a lpmos_insisting+=1
if %lpmos_insisting% GEQ 30 exit /b 1
call :pause 10
goto insisting

:pause
set /a lpmos_pings=%1+1
ping -n %lpmos_pings% 127.0.0.1 >nul 2>&1
exit /b 0
