// Pooling over images: one invocation per texel of the output.

struct Params {
    count: u32,
    input_height: u32,
    input_width: u32,
    output_height: u32,
    output_width: u32,
    kernel_height: u32,
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
// Binding 1 is the input (shared/image_input.wgsl).
// The output (shared/image_output.wgsl).
const OUTPUT = 2;

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
    let plane = i32(i / (params.output_width * params.output_height) * params.input_height * params.input_width);
    let top = i32(y * params.stride_y) - i32(params.pad_top);
    let left = i32(x * params.stride_x) - i32(params.pad_left);
    // Of as many elements as the loop over taps has rounds, so that Mesa unrolls it.
    var columns: array<i32, KERNEL_WIDTH>;
    for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
        columns[kx] = left + i32(kx * params.dilation_x);
    }

    var value = vec4(select(0.0, params.lowest, MAX));
    var counted = 0u;
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let kernel_height = params.kernel_height + group.z;
    for (var ky = 0u; ky < kernel_height; ky++) {
        let row = top + i32(ky * params.dilation_y);
        let start = plane + row * i32(params.input_width);
        let width = select(0u, params.input_width, u32(row) < params.input_height);
        for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
            let column = columns[kx];
            let inside = u32(column) < width;
            let next = load_input(u32(max(start + column, 0)));
            if MAX {
                value = select(value, next, vec4(inside) & (next > value | is_nan4(next)));
            } else {
                value += select(vec4<f32>(), next, inside);
                // The overhang of a last window counts for nothing.
                let counts = row < i32(params.input_height + params.pad_bottom)
                    && column < i32(params.input_width + params.pad_right);
                counted += u32(select(inside, counts, COUNT_PADDING));
            }
        }
    }
    if !MAX {
        value /= f32(max(counted, 1u));
    }
    store_output(i, value);
}
