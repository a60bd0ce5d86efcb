// Reads one axis at other places: each position of the output is a weighted sum of a few of the input.

struct Params {
    count: u32,
    taps: u32,
    // Positions along the axis in the output and in the input, and elements from one to the next.
    positions: u32,
    size: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

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
    let outer = i / params.inner / params.positions;
    let position = i / params.inner % params.positions;
    var sum = 0.0;
    var first = true;
    for (var t = position * params.taps; t < (position + 1u) * params.taps; t++) {
        let weight = weights[t];
        // A tap of weight 0 is not read: its element may be infinite.
        if weight != 0.0 {
            let term = weight * input[(outer * params.size + indices[t]) * params.inner + i % params.inner];
            sum = select(sum + term, term, first);
            first = false;
        }
    }
    output[i] = sum;
}
