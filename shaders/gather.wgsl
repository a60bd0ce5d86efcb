// Picks slices along an axis by index. Bit for bit.

struct Params {
    count: u32,
    // Elements of a slice, slices along the axis, and how many indices there are.
    inner: u32,
    size: u32,
    indices: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read> indices: array<i32>;
@group(0) @binding(3) var<storage, read_write> output: array<u32>;

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
    let slice = i / params.inner;
    var index = indices[slice % params.indices];
    if index < 0 {
        index += i32(params.size);
    }
    var word = 0u;
    if index >= 0 && index < i32(params.size) {
        word = input[(slice / params.indices * params.size + u32(index)) * params.inner + i % params.inner];
    }
    output[i] = word;
}
