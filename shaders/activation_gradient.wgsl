// output[i] = dy[i] * slope(value[i]), of single elements or of fours of neighbours.

struct Params {
    // Of elements, or of fours.
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> value: array<Value>;
@group(0) @binding(2) var<storage, read> dy: array<Value>;
@group(0) @binding(3) var<storage, read_write> output: array<Value>;

const GROUP = 64u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    if i < params.count {
        output[i] = zip(value[i], dy[i]);
    }
}

fn apply(value: f32, dy: f32) -> f32 {
    return dy * slope(value);
}
