# Shared by `.ci/run` and the legs: environments, timed steps, tests whose failure names a package.
# `.ci/run` exports PYTHON, SCRATCH, TIMES, UV and LEG.
# shellcheck shell=bash disable=SC2034
set -euo pipefail

step() { # LIMIT COMMAND...: run a command that may take LIMIT seconds, and note how long it took
  local limit=$1 began=$SECONDS status=0 TIMEFORMAT='%U %S' cpu=$SCRATCH/$LEG-cpu
  shift
  printf '\n=== %s: %s\n' "$LEG" "$*"
  { time timeout --kill-after=10 "$limit" "$@" 2>&4 || status=$?; } 4>&2 2>"$cpu"
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    echo "stopped: it took more than $limit s" >&2
  fi
  printf '%6d s %6.0f s of CPU time  %s: %.90s\n' $((SECONDS - began)) \
    "$(awk 'END { print $1 + $2 }' "$cpu")" "$LEG" "${*##*/}" >>"$TIMES"
  return "$status"
}

environment() { # INTERPRETER [NAME]: a virtual environment of this run, first on PATH; `${install[@]}` fills it
  local folder=$SCRATCH/${2:-$LEG}
  if [ -n "$UV" ]; then
    install=("$UV" pip install -q --python "$folder/bin/python")
    [ -x "$folder/bin/python" ] || "$UV" venv -q --python "$1" "$folder"
  else
    install=("$folder/bin/pip" install -q)
    [ -x "$folder/bin/pip" ] || "$1" -m venv "$folder"
  fi
  export PATH=$folder/bin:$PATH
}

resolved_environment() { # the versions of constraints.txt: the first leg makes it, the others share it
  local ready=$SCRATCH/resolved.ready
  exec 9>"$SCRATCH/resolved.lock"
  flock 9
  environment "$PYTHON" resolved
  if [ ! -e "$ready" ]; then
    step 600 "${install[@]}" -c constraints.txt -e '.[test,dist,docs,notebooks,dev,explore,browser]' 9>&-
    touch "$ready"
  fi
  exec 9>&-
}

tests() { # LIMIT ARGUMENTS...: pytest, and after a failure the package whose version explains it
  local limit=$1
  shift
  # legs share compiled programs, whose names hold the versions of JAX and its compiler
  mkdir -p "$SCRATCH/programs" "$SCRATCH/$LEG-cache/d"
  ln -sfn "$SCRATCH/programs" "$SCRATCH/$LEG-cache/d/compiled"
  if ! step "$limit" pytest -q -o cache_dir="$SCRATCH/$LEG-cache" "$@"; then
    step 600 python .ci/versions.py blame "$SCRATCH/$LEG-cache" || true
    return 1
  fi
}

chromium() { # Debian's browser, where it is missing and can be installed; without it its tests are skipped
  if [ -z "$(type -P chromium)" ]; then # `command -v` would find this function
    step 600 bash -c 'apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium' || true
  fi
  [ -n "$(type -P chromium)" ] || echo "no browser: tests that need one are skipped" | tee -a "$SCRATCH/missing"
}

interpreter() { # VERSION: print a Python of this version that runs, if there is one
  # The system's first: pyenv's call themselves through a shared library, and tests take about 6 % longer.
  local candidate
  for candidate in "/usr/bin/python$1" "python$1" "$(pyenv root 2>/dev/null)/versions/$1".*/bin/python; do
    if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

# For the leg `pages`: they call little that others do not, so that neither checks of types nor a trace
# of lines, with which they take twice as long, would find more. With them the coverage is 96.1 %
# instead of 95.5 %.
plain=(tests/test_{guides,pages,doctests,fit_your_runs,docs,readme,optimizers,hostile,cli_fit}.py)
browsers=(tests/explorer/test_*_browser.py tests/report/test_browser.py)

# Every annotation of the package is checked at every call.
checked="--jaxtyping-packages=jaxscale,beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

# One test of every kind of work, within 3 minutes of one core: for other versions than the resolved.
subset=(
  tests/test_dependencies.py
  tests/test_training.py
  tests/test_optimizers.py
  tests/test_spectra.py
  tests/test_linalg.py
  tests/analysis/test_claim.py
  tests/analysis/test_exponents.py
  tests/emergence/test_theory_laws.py
  tests/report/test_page.py
  tests/sparse/test_theory_plane.py
  tests/superposition/test_theory_interference.py
  tests/sweep/test_config.py
  tests/sweep/test_execute.py
  tests/sweep/test_lock.py
  tests/sweep/test_store.py
)

# What calls every theory function, and trains systems of every kind, where types are checked.
models=(tests/test_{formulas,every_system}.py tests/streaming/test_system.py)

# whose slow tests compile more than they compute, or share programs with those that do
compiling=(tests/{emergence,sparse,superposition})
compiling+=(tests/streaming/test_{equivalent,mean_optimizer,sign,system}.py)
compiling+=(tests/streaming/test_theory_{borders,exact,transforms}.py)
compiling+=(tests/sweep/test_{plan,stretches}.py tests/analysis/test_frontier.py)
compiling+=(tests/test_{theory_transforms,exports,benchmark_gpu,every_system,pages,formulas}.py)
compiling+=(tests/test_{own_model,optimizers}.py)

# for what computes more than it compiles: tests/conftest.py chooses level 0, and says what the others are
fewer_passes="--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
fewer_passes+=" --xla_cpu_parallel_codegen_split_count=1"
level_1="$fewer_passes --xla_cpu_use_fusion_emitters=false"

reproduced=$SCRATCH/reproduced # folder of quick reproductions, for two legs
