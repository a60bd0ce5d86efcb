// Local response normalisation across channels: one invocation per element.

struct Params {
    count: u32,
    channels: u32,
    plane: u32,
    // The channels before and after that are summed too.
    before: u32,
    after: u32,
    // alpha / size
    scale: f32,
    beta: f32,
    bias: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

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
    let channel = i / params.plane % params.channels;
    let first = channel - min(channel, params.before);
    let last = min(channel + params.after, params.channels - 1u);
    var sum = 0.0;
    for (var c = first; c <= last; c++) {
        let x = input[i - channel * params.plane + c * params.plane];
        sum += x * x;
    }
    output[i] = input[i] / pow(params.bias + params.scale * sum, params.beta);
}
