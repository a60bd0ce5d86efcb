// Copies one input to its place in each row of the output, bit for bit.

struct Params {
    count: u32,
    // Words of the input in a row, words of a whole row, and where in the row the input starts.
    own: u32,
    row: u32,
    start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

const GROUP = 64u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    if i < params.count {
        output[i / params.own * params.row + params.start + i % params.own] = input[i];
    }
}
