#!/usr/bin/env bash
# The demonstration: seven agents on a repository of some hundred files, at the same time. One depends on two others,
# one fails, one writes where it must not; what is good becomes one merged branch.
set -euo pipefail

demo=$(mktemp -d "${TMPDIR:-/tmp}/coord-demo.XXXXXX")
export COORD_HOME="$demo/state"
unset COORD_STORE COORD_WORKER_LIMIT
repo="$demo/library"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. A repository: parts of Python's standard library, in $repo"
mkdir -p "$repo/lib"
stdlib=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
for package in asyncio collections concurrent ctypes email encodings html http importlib json logging \
               multiprocessing sqlite3 tomllib unittest urllib wsgiref xml zoneinfo; do
    (cd "$stdlib" && find "$package" -name '*.py' -print0 | xargs -0 cp --parents -t "$repo/lib" 2>/dev/null) || true
done
cd "$repo"
git init --quiet --initial-branch=main
git config user.name "Demo" && git config user.email "demo@example.invalid"
git add --all && git commit --quiet --message "Parts of the standard library"
echo "$(git ls-files | wc -l) files, $(git rev-parse --short HEAD) on main"
echo "a note of mine, not committed" > NOTES.txt
before=$(git status --porcelain=v2 --branch; cat .git/HEAD .git/config; sha256sum .git/index)

say "2. A plan: any command can be an agent (coord plan example explains every key)"
cat > "$demo/plan.yaml" <<'PLAN'
goal: Document and tidy the library
tasks:
- id: index
  name: Index of all modules
  prompt: Write docs/INDEX.md, one line for each module with its first docstring line.
  writes: [docs/INDEX.md]
  checks: ["grep -q json/decoder docs/INDEX.md"]
  agent: {command: [sh, -c, "sleep 1; mkdir -p docs; find lib -name '*.py' | sort | sed 's/^/- /' > docs/INDEX.md"]}
- id: stats
  name: Lines of code by package
  prompt: Write docs/stats.txt with the number of lines of each package.
  writes: [docs/stats.txt]
  agent: {command: [sh, -c, "mkdir -p docs; for p in lib/*/; do echo \"$(cat $p*.py | wc -l) $p\"; sleep 0.05; done > docs/stats.txt"]}
- id: licence
  name: Licence header in lib/xml
  prompt: Put a licence line at the top of every file below lib/xml.
  writes: [lib/xml]
  agent: {command: [sh, -c, "sleep 0.5; find lib/xml -name '*.py' -exec sed -i '1i # Licence: PSF' {} +; git commit -qam 'Licence lines'"]}
- id: tests
  name: A first test for json
  prompt: Add tests/test_json.py that shows that json round-trips a nested object.
  writes: [tests]
  checks: ["python3 tests/test_json.py"]
  agent:
    command:
    - python3
    - -c
    - |
      import pathlib, time
      time.sleep(0.7)
      pathlib.Path("tests").mkdir(exist_ok=True)
      pathlib.Path("tests/test_json.py").write_text("import json\nx = {'a': [1, {'b': None}]}\nassert json.loads(json.dumps(x)) == x\n")
- id: summary
  name: Summary from index and statistics
  prompt: Write docs/SUMMARY.md from docs/INDEX.md and docs/stats.txt.
  needs: [index, stats]
  reads: [docs/INDEX.md, docs/stats.txt]
  writes: [docs/SUMMARY.md]
  agent: {command: [sh, -c, "sleep 0.5; (wc -l < docs/INDEX.md; sort -rn docs/stats.txt | head -3) > docs/SUMMARY.md"]}
- id: crash
  name: An agent that gives up half-way
  prompt: Rewrite lib/email.
  writes: [lib/email]
  agent: {command: [sh, -c, "sleep 0.8; echo '# half done' >> lib/email/utils.py; echo 'I cannot go on' >&2; exit 3"]}
- id: greedy
  name: An agent that leaves its scope
  prompt: Fix a typo in lib/html/parser.py.
  writes: [lib/html/parser.py]
  agent: {command: [sh, -c, "sleep 0.6; sed -i 's/parser/Parser/' lib/html/parser.py; echo 'import os' >> lib/http/client.py"]}
PLAN
coord plan check "$demo/plan.yaml"

say "3. coord run"
status=0
coord run "$demo/plan.yaml" --session demo || status=$?
[ "$status" -eq 3 ] || { echo "coord run ended with status $status, expected 3 (some landed)" >&2; exit 1; }

say "4. The result is one branch; main, the checkout and the uncommitted note are as before"
git log --graph --oneline --decorate -12 coord/demo
after=$(git status --porcelain=v2 --branch; cat .git/HEAD .git/config; sha256sum .git/index)
[ "$before" = "$after" ] || { echo "the checkout changed" >&2; exit 1; }
git status --short --branch

say "5. Look further"
coord inspect demo
printf '\n  cd %s\n  export COORD_HOME=%s\n' "$repo" "$COORD_HOME"
printf '  coord events demo        # what happened, in order\n  coord logs crash.1 --stderr\n  git merge coord/demo\n'
