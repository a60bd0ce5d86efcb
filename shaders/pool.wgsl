// Max, average or Lp pooling: one invocation per output element.

struct Params {
    // Per spatial axis as (depth, height, width).
    input_size: vec4<u32>,
    output_size: vec4<u32>,
    kernel: vec4<u32>,
    stride: vec4<u32>,
    dilation: vec4<u32>,
    // Padding before the input, and the size with padding on both sides.
    before: vec4<u32>,
    padded_size: vec4<u32>,
    count: u32,
    // The exponent of the norm.
    p: f32,
    // Minus infinity, for which WGSL has no constant.
    lowest: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

const GROUP = 64u;

const MAX = 0u;
const AVERAGE = 1u;
// With an exponent of 1, of 2, and any other.
const L1 = 2u;
const L2 = 3u;
const LP = 4u;

// How many taps of windows that start at these padded coordinates lie before `end`.
fn taps_before(end: vec3<u32>, start: vec3<u32>) -> vec3<u32> {
    let taps = (max(end, start + 1u) - start - 1u) / params.dilation.xyz + 1u;
    return select(vec3(0u), min(taps, params.kernel.xyz), start < end);
}

fn volume(size: vec3<u32>) -> u32 {
    return size.x * size.y * size.z;
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    if i >= params.count {
        return;
    }
    let size = params.input_size.xyz;
    let positions = params.output_size.xyz;
    let plane = i / volume(positions) * volume(size);
    let position = vec3(
        i / (positions.z * positions.y) % positions.x,
        i / positions.z % positions.y,
        i % positions.z,
    );

    // The taps on the input are those from `first` up to `last`.
    let start = position * params.stride.xyz;
    let before = params.before.xyz;
    let first = taps_before(before, start);
    let last = taps_before(before + size, start);

    // Of a window that lies in the padding altogether, the maximum is minus infinity at -1, and the mean 0.
    var best = params.lowest;
    var best_at = vec3(0u);
    var found = false;
    var sum = 0.0;
    for (var d = first.x; d < last.x; d += 1u) {
        for (var h = first.y; h < last.y; h += 1u) {
            for (var w = first.z; w < last.z; w += 1u) {
                let at = start + vec3(d, h, w) * params.dilation.xyz - before;
                let x = input[plane + (at.x * size.y + at.y) * size.z + at.z];
                switch KIND {
                    case MAX: {
                        // The first of equals wins, and a NaN over numbers.
                        if !found || x > best || (is_nan(x) && !is_nan(best)) {
                            best = x;
                            best_at = at;
                            found = true;
                        }
                    }
                    case AVERAGE: { sum += x; }
                    case L1: { sum += abs(x); }
                    case L2: { sum += x * x; }
                    default: { sum += power(abs(x), params.p); }
                }
            }
        }
    }

    switch KIND {
        case MAX: {
            output[i] = best;
            let by_rows = (best_at.x * size.y + best_at.y) * size.z + best_at.z;
            let by_columns = (best_at.z * size.y + best_at.y) * size.x + best_at.x;
            let index = plane + select(by_rows, by_columns, COLUMN_MAJOR);
            store_index(i, select(0xffffffffu, index, found));
        }
        case AVERAGE: {
            var divisor = last - first;
            if COUNT_INCLUDE_PAD {
                divisor = taps_before(params.padded_size.xyz, start);
            }
            output[i] = sum / f32(max(volume(divisor), 1u));
        }
        case L1: { output[i] = sum; }
        case L2: { output[i] = sqrt(sum); }
        default: { output[i] = power(sum, 1.0 / params.p); }
    }
}

// x to the power of p > 0, for x >= 0.
fn power(x: f32, p: f32) -> f32 {
    return select(exp2(p * log2(x)), 0.0, x == 0.0);
}
