// Convolution over images, for adapters that compute on CPU cores: an invocation computes PIXELS neighbours of a row by
// 4 FILTERS channels and holds their sums in registers. No workgroup memory, no barriers.
//
// Inner loops have constant bounds and arrays constant indices once those are unrolled, so that both become registers.

struct Params {
    // Invocations, and of them those side by side in an output row.
    count: u32,
    across: u32,
    // Texels in depth of input and output.
    depth: u32,
    filters: u32,
    // Channels in the last texel of the output; the others are kept at 0.
    last_lanes: u32,
    input_height: u32,
    input_width: u32,
    output_height: u32,
    output_width: u32,
    kernel_height: u32,
    stride_y: u32,
    dilation_y: u32,
    pad_top: u32,
    pad_left: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var input: texture_storage_2d<rgba32float, read>;
// Texel (((c4 * kernel_height + ky) * KERNEL_WIDTH + kx) * 4 + c) * filters + f4: four filters' weights of channel 4 c4 + c.
@group(0) @binding(2) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var residual: texture_storage_2d<rgba32float, read>;
@group(0) @binding(5) var output: texture_storage_2d<rgba32float, write>;

const GROUP = 16u;

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
    let x = i % params.across * PIXELS;
    let y = i / params.across % params.output_height;
    let blocks = (params.filters + FILTERS - 1u) / FILTERS;
    let filter_ = i / (params.across * params.output_height) % blocks * FILTERS;
    let image = i / (params.across * params.output_height * blocks);

    var sums: array<vec4<f32>, PIXELS * FILTERS>;
    for (var k = 0u; k < PIXELS * FILTERS; k++) {
        sums[k] = vec4<f32>();
    }
    var line: array<vec4<f32>, PIXELS>;
    let left = i32(x * STRIDE_X) - i32(params.pad_left);
    let top = i32(y * params.stride_y) - i32(params.pad_top);
    var w = filter_;
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let depth = params.depth + group.z;
    let kernel_height = params.kernel_height + group.z;
    for (var c = 0u; c < depth; c++) {
        for (var ky = 0u; ky < kernel_height; ky++) {
            let row = top + i32(ky * params.dilation_y);
            if row >= 0 && row < i32(params.input_height) {
                let start = ((image * params.depth + c) * params.input_height + u32(row)) * params.input_width;
                for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
                    let first = left + i32(kx * DILATION_X);
                    // The pixels of this tap: side by side, all but one are here already.
                    if STRIDE_X == 1u && DILATION_X == 1u && kx > 0u {
                        for (var p = 0u; p + 1u < PIXELS; p++) {
                            line[p] = line[p + 1u];
                        }
                        line[PIXELS - 1u] = load(start, first + i32(PIXELS - 1u));
                    } else {
                        for (var p = 0u; p < PIXELS; p++) {
                            line[p] = load(start, first + i32(p * STRIDE_X));
                        }
                    }
                    for (var lane = 0u; lane < 4u; lane++) {
                        for (var f = 0u; f < FILTERS; f++) {
                            let weights = textureLoad(weight, texel_at(w + (kx * 4u + lane) * params.filters + f));
                            for (var p = 0u; p < PIXELS; p++) {
                                sums[p * FILTERS + f] += line[p][lane] * weights;
                            }
                        }
                    }
                }
            }
            w += KERNEL_WIDTH * 4u * params.filters;
        }
    }

    for (var f = 0u; f < FILTERS; f++) {
        if filter_ + f >= params.filters {
            break;
        }
        var shift = vec4<f32>();
        if HAS_BIAS {
            shift = bias[filter_ + f];
        }
        let plane = (image * params.filters + filter_ + f) * params.output_height + y;
        for (var p = 0u; p < PIXELS; p++) {
            if x + p < params.output_width {
                let texel = texel_at(plane * params.output_width + x + p);
                var value = sums[p * FILTERS + f] + shift;
                if HAS_RESIDUAL {
                    value += textureLoad(residual, texel);
                }
                textureStore(output, texel, mask(filter_ + f, activate4(value)));
            }
        }
    }
}

// Without this an infinite input would put NaN into the channels past the last, and from there everywhere.
fn mask(filter_: u32, value: vec4<f32>) -> vec4<f32> {
    let last = filter_ + 1u == params.filters;
    return select(value, vec4<f32>(), vec4(last) & (vec4(0u, 1u, 2u, 3u) >= vec4(params.last_lanes)));
}
