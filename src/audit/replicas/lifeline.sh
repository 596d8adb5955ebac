# Reads process groups that run ("+ 12") and that are over ("- 12"). When its input ends, it kills those that run, then
# what bears the mark $1 in its environment, and removes the folder $2.
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
for group in $groups; do
    kill -KILL "-$group"
done
# What leaves its group may start others while it is looked for.
for _ in 1 2 3; do
    grep -l -s -F -e "$1" /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do
        kill -KILL "$pid"
    done
done
# Some tools write folders that even their owner cannot change.
rm -rf -- "$2" || { chmod -R u+rwX -- "$2" && rm -rf -- "$2"; }
