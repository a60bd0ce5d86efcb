// What the kernels of pooling share.

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
    // The outputs, or the fours of them.
    count: u32,
    // The exponent of the norm.
    p: f32,
    // Minus infinity, for which WGSL has no constant.
    lowest: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

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

// What an element adds to a mean or norm.
fn term(x: f32) -> f32 {
    switch KIND {
        case L1: { return abs(x); }
        case L2: { return x * x; }
        case LP: { return power(abs(x), params.p); }
        default: { return x; }
    }
}

// The mean or norm of a window that starts at these padded coordinates; the mean of one in the padding altogether is 0.
fn finish(sum: f32, start: vec3<u32>) -> f32 {
    switch KIND {
        case AVERAGE: {
            let before = params.before.xyz;
            var taps = taps_before(before + params.input_size.xyz, start) - taps_before(before, start);
            if COUNT_INCLUDE_PAD {
                taps = taps_before(params.padded_size.xyz, start);
            }
            return sum / f32(max(volume(taps), 1u));
        }
        case L2: { return sqrt(sum); }
        case LP: { return power(sum, 1.0 / params.p); }
        default: { return sum; }
    }
}

// x to the power of p > 0, for x >= 0.
fn power(x: f32, p: f32) -> f32 {
    return select(exp2(p * log2(x)), 0.0, x == 0.0);
}
