// Depthwise convolution over images: an invocation computes PIXELS neighbours of a row, four channels at a time.

struct Params {
    // Invocations, and of them those side by side in an output row.
    count: u32,
    across: u32,
    depth: u32,
    // The output may be channels among others: texels before its first image, and between its images.
    start: u32,
    gap: u32,
    // The bounds of shared/image_clamp.wgsl.
    low: f32,
    high: f32,
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
// Binding 1 is the input (shared/image_input.wgsl).
// Texel (c4 * kernel_height + ky) * KERNEL_WIDTH + kx: a tap's weights of four channels.
@group(0) @binding(2) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
// What is added (shared/image_residual.wgsl or image_no_residual.wgsl).
const RESIDUAL = 4;
// The output (shared/image_output.wgsl).
const OUTPUT = 5;

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
    // Of all images' channels, which follow each other.
    let plane = i / (params.across * params.output_height);
    let c = plane % params.depth;

    var sums: array<vec4<f32>, PIXELS>;
    var line: array<vec4<f32>, PIXELS>;
    // Of as many elements as the loop over taps has rounds, so that Mesa unrolls it.
    var columns: array<i32, KERNEL_WIDTH>;
    let left = i32(x * STRIDE_X) - i32(params.pad_left);
    for (var n = 0u; n < KERNEL_WIDTH; n++) {
        columns[n] = left + i32(tap(n) * DILATION_X);
    }
    let top = i32(y * params.stride_y) - i32(params.pad_top);
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let kernel_height = params.kernel_height + group.z;
    for (var ky = 0u; ky < kernel_height; ky++) {
        let row = top + i32(ky * params.dilation_y);
        let at = (i32(plane * params.input_height) + row) * i32(params.input_width);
        let width = select(0u, params.input_width, row >= 0 && row < i32(params.input_height));
        for (var n = 0u; n < KERNEL_WIDTH; n++) {
            if slides(n) {
                for (var p = 0u; p < PIXELS; p++) {
                    if p + 1u < PIXELS {
                        line[p] = line[p + 1u];
                    } else {
                        line[p] = load(at, columns[n] + i32(p * STRIDE_X), width);
                    }
                }
            } else {
                for (var p = 0u; p < PIXELS; p++) {
                    line[p] = load(at, columns[n] + i32(p * STRIDE_X), width);
                }
            }
            let weights = textureLoad(weight, texel_at((c * params.kernel_height + ky) * KERNEL_WIDTH + tap(n)));
            for (var p = 0u; p < PIXELS; p++) {
                sums[p] += line[p] * weights;
            }
        }
    }

    let moved = params.start + plane / params.depth * params.gap;
    var shift = vec4<f32>();
    if HAS_BIAS {
        shift = bias[c];
    }
    for (var p = 0u; p < PIXELS; p++) {
        if x + p < params.output_width {
            let to = (plane * params.output_height + y) * params.output_width + x + p;
            var value = sums[p] + shift;
            if HAS_RESIDUAL {
                value += load_residual(to);
            }
            store_output(to + moved, activate4(value));
        }
    }
}
