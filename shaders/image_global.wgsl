// The mean or maximum of each channel of an image: one invocation per four channels.

struct Params {
    count: u32,
    pixels: u32,
    // Texels in depth, and channels in the last of them.
    filters: u32,
    last_lanes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Binding 1 is the input (shared/image_input.wgsl).
// The output, as shared/image_output.wgsl or image_words.wgsl store it.
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
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let pixels = params.pixels + group.z;
    var value = load_input(i * pixels);
    for (var p = 1u; p < pixels; p++) {
        let next = load_input(i * pixels + p);
        if MAX {
            value = select(value, next, next > value | is_nan4(next));
        } else {
            value += next;
        }
    }
    if !MAX {
        value /= f32(pixels);
    }
    store_output(i, value);
}
