# Reads process groups that run ("+ 12") and that are over ("- 12"). When its input ends, it kills those that run, with
# all that they have started, then what bears the mark $1 in its environment, and removes the folder $2.
trap '' HUP INT TERM
groups=
while read -r sign group; do
    if [ "$sign" = + ]; then
        groups="$groups $group"
    else
        kept=
        for one in $groups; do
            [ "$one" = "$group" ] || kept="$kept $one"
        done
        groups=$kept
    fi
done
# What they have started may have left them, so it is looked for as long as its parents run: by the number, the parent
# and the group of each process (proc(5)).
all=
for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null <"$stat" || continue
    pid=${stat#/proc/}
    set -- "$1" "$2" ${line##*) }
    all="$all ${pid%/stat}:$4:$5"
done
kin=' '
grows=yes
while [ "$grows" ]; do
    grows=
    for one in $all; do
        pid=${one%%:*} group=${one##*:} parent=${one#*:}
        case "$kin" in *" $pid "*) continue ;; esac
        case " $groups $kin" in
            *" $group "* | *" ${parent%:*} "*) kin="$kin$pid " grows=yes ;;
        esac
    done
done
for group in $groups; do
    kill -KILL "-$group"
done
for pid in $kin; do
    kill -KILL "$pid"
done
# What leaves its group may start others while it is looked for.
for _ in 1 2 3; do
    grep -l -s -F -e "$1" /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do
        kill -KILL "$pid"
    done
done
# Some tools write folders that even their owner cannot change.
rm -rf -- "$2" || { chmod -R u+rwX -- "$2" && rm -rf -- "$2"; }
