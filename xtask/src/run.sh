#!/bin/sh
# Runs the tests and the benchmarks of this folder on this machine: ./run.sh [tests] [benches], without arguments both.
# What they print also goes to results/. Needs a Vulkan driver (Windows, macOS: none besides the system's) and, on Linux,
# a C library no older than that of the machine that built this.
#
# DEVICE=gpu        the device that is measured: gpu (the best adapter), cpu, or a part of an adapter's name
# BATCHES="1 8 32"  images at once
# RUNS=20           measured runs of each network
set -u
cd "$(dirname "$0")" || exit 1
mkdir -p results
failed=

# run NAME COMMAND...
run() {
    name=$1
    shift
    echo "== $name: $*"
    "$@" >"results/$name.txt" 2>&1 || failed="$failed $name"
    cat "results/$name.txt"
}

tests() {
    for test in tests/*; do
        case $(basename "$test" .exe) in
        library) run test-library "$test" @SKIP@ ;;
        *) run "test-$(basename "$test" .exe)" "$test" ;;
        esac
    done
}

benches() {
    for model in lenet5 squeezenet1_1 mobilenet_v2 resnet18 resnet50 vgg16; do
        for batch in ${BATCHES:-1 8 32}; do
            run "bench-$model-$batch" \
                bin/wgpu-cnn bench "$model" --batch "$batch" --runs "${RUNS:-20}" --device "${DEVICE:-gpu}" --json
        done
        run "profile-$model" \
            bin/wgpu-cnn profile "$model" --device "${DEVICE:-gpu}" --trace "results/trace-$model.json"
    done
    for bench in benches/*; do
        CRITERION_HOME=results/criterion run "bench-$(basename "$bench" .exe)" "$bench" --bench
    done
}

run devices bin/wgpu-cnn devices
for part in ${*:-tests benches}; do
    case $part in
    tests | benches) "$part" ;;
    *) echo "usage: ./run.sh [tests] [benches]" && exit 2 ;;
    esac
done
if [ -n "$failed" ]; then
    echo "failed:$failed"
    exit 1
fi
echo "all passed; results are in $(pwd)/results"
