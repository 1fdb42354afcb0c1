#!/usr/bin/env bash
# Several agents at work on a real repository; filled in together with `coord run`.
set -euo pipefail
echo "the demo comes with \`coord run\`" >&2
exit 1
