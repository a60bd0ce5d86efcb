// Copies the channels of one image to their place among those of another: one invocation per texel.

struct Params {
    count: u32,
    // Texels of one image of the input and of the output, and where in the latter the former start.
    own: u32,
    whole: u32,
    start: u32,
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
    if i < params.count {
        let to = i / params.own * params.whole + params.start + i % params.own;
        store_output(to, load_input(i));
    }
}
