# Reads what runs and how it ends ("+ GROUP SIGNAL"), what is over ("- GROUP"), and what is to be removed ("/ PATH").
# When its input ends, the run is over, however it went: it ends what still runs, and removes what is still there.
trap '' HUP INT QUIT TERM
# A path is no pattern.
set -f
# Whoever starts a run may have hidden programs from it.
PATH=${PATH:+$PATH:}/usr/bin:/bin
groups=' '
paths=
while read -r sign word; do
    case "$sign" in
        +) groups="$groups${word%% *}:${word#* } " ;;
        -) case "$groups" in *" $word:"*)
            before=${groups%%" $word:"*} after=${groups#*" $word:"}
            groups="$before ${after#* }"
        esac ;;
        /) paths="$paths$word
" ;;
    esac
done
# A process that has ended and that nobody has asked for is a zombie (proc(5)).
runs() {
    kill -0 "-$1" 2>/dev/null || return
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return
    case "${line##*) }" in Z* | X*) return 1 ;; esac
}
# Waits until all have ended, for so many tenths of a second at most.
wait_for() {
    tenths=$1
    for one in $groups; do
        while [ "$tenths" -gt 0 ] && runs "${one%:*}"; do
            tenths=$((tenths - 1))
            sleep 0.1
        done
    done
}
# What ends on a signal tidies up; it has 3 s for that.
for one in $groups; do
    kill "-${one#*:}" "-${one%:*}" 2>/dev/null
done
wait_for 30
for one in $groups; do
    kill -KILL "-${one%:*}" 2>/dev/null
done
wait_for 50
# Some of what it has started may end a little later, and write until then.
IFS='
'
for path in $paths; do
    tries=50
    until rm -rf -- "$path" 2>/dev/null; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "unstick prove was killed and has left $path behind: remove it" >&2; break; }
        sleep 0.1
    done
done
