# Usage: test_reflow.sh PROGRAM
reflow=$1
failures=0

# same WHAT EXPECTED FOUND
same() {
  if [ "$2" = "$3" ]; then
    echo "ok $1"
  else
    printf 'FAIL %s\nexpected:\n%s\nfound:\n%s\n' "$1" "$2" "$3"
    failures=$((failures + 1))
  fi
}

same "words of the command line" 'one two
three' "$("$reflow" -w 8 -- one two three)"
same "standard input" 'one two three' "$(printf 'one\ntwo\n   three' | "$reflow")"
same "columns, not bytes" 'äöü äöü' "$("$reflow" -w 7 -- äöü äöü)"
same "nothing" '' "$("$reflow" </dev/null)"

"$reflow" -w 0 </dev/null >/dev/null 2>&1
same "a width of 0 is refused" 2 "$?"
"$reflow" --nonsense </dev/null >/dev/null 2>&1
same "an unknown option is refused" 2 "$?"

exit "$failures"
