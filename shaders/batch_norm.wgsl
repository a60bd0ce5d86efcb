// output[i] = (x[i] - mean) / sqrt(variance + epsilon) * scale + bias, these four of i's channel

struct Params {
    count: u32,
    // Elements of a channel in one image, and channels.
    plane: u32,
    channels: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> variance: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

const GROUP = 64u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    if i < params.count {
        let c = i / params.plane % params.channels;
        output[i] = (x[i] - mean[c]) * (scale[c] / sqrt(variance[c] + params.epsilon)) + bias[c];
    }
}
