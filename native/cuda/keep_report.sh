#!/bin/sh
# Runs the compiler, keeps what ptxas says of registers, spills and shared memory beside the object (NAME.o.ptxas), and shows
# the rest. CMakeLists.txt launches nvcc through it.
object=
previous=
for argument in "$@"; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
[ -n "$object" ] || exec "$@"
"$@" 2> "$object.ptxas"
status=$?
if [ $status -ne 0 ]; then
  cat "$object.ptxas" >&2
else
  grep -v -e '^ptxas info' -e 'bytes stack frame' -e '^$' "$object.ptxas" >&2
fi
exit $status
