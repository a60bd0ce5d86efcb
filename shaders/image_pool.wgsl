// Pooling over images: one invocation per texel of the output.

struct Params {
    count: u32,
    input_height: u32,
    input_width: u32,
    output_height: u32,
    output_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_y: u32,
    stride_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    pad_top: u32,
    pad_left: u32,
    pad_bottom: u32,
    pad_right: u32,
    // The bits of minus infinity, which WGSL has no constant for.
    lowest: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var input: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var output: texture_storage_2d<rgba32float, write>;

const GROUP = 64u;

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
    let x = i % params.output_width;
    let y = i / params.output_width % params.output_height;
    let plane = i / (params.output_width * params.output_height) * params.input_height;

    var value = vec4(select(0.0, params.lowest, MAX));
    var padded = 0u;
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let kernel_height = params.kernel_height + group.z;
    let kernel_width = params.kernel_width + group.z;
    for (var ky = 0u; ky < kernel_height; ky++) {
        for (var kx = 0u; kx < kernel_width; kx++) {
            // In padded coordinates, which are never negative.
            let row = y * params.stride_y + ky * params.dilation_y;
            let column = x * params.stride_x + kx * params.dilation_x;
            let inside = row >= params.pad_top && row < params.pad_top + params.input_height
                && column >= params.pad_left && column < params.pad_left + params.input_width;
            if inside {
                let texel = (plane + row - params.pad_top) * params.input_width + column - params.pad_left;
                let next = textureLoad(input, texel_at(texel));
                if MAX {
                    value = select(value, next, next > value | is_nan4(next));
                } else {
                    value += next;
                }
            }
            // The overhang of a last window counts for nothing.
            let counts = row < params.pad_top + params.input_height + params.pad_bottom
                && column < params.pad_left + params.input_width + params.pad_right;
            padded += select(0u, 1u, select(inside, counts, COUNT_PADDING));
        }
    }
    if !MAX {
        value /= f32(max(padded, 1u));
    }
    textureStore(output, texel_at(i), value);
}
