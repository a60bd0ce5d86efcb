// Transposed convolution: an invocation gathers, for one output element, the inputs whose windows cover it.

struct Params {
    // Input and output channels in all, and of one group.
    channels: u32,
    filters: u32,
    group_channels: u32,
    group_filters: u32,
    count: u32,
    input_size: vec4<u32>,
    output_size: vec4<u32>,
    kernel: vec4<u32>,
    stride: vec4<u32>,
    dilation: vec4<u32>,
    // What is cropped in front.
    before: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
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
    let out = params.output_size;
    let position = vec3(i / (out.z * out.y) % out.x, i / out.z % out.y, i % out.z);
    let filter_ = i / (out.z * out.y * out.x) % params.filters;
    let image = i / (out.z * out.y * out.x * params.filters);

    let taps = params.kernel.x * params.kernel.y * params.kernel.z;
    let first = filter_ / params.group_filters * params.group_channels;
    let size = params.input_size;
    let reach = position + params.before.xyz;
    var sum = 0.0;
    for (var tap = 0u; tap < taps; tap++) {
        let at = vec3(
            tap / (params.kernel.y * params.kernel.z),
            tap / params.kernel.z % params.kernel.y,
            tap % params.kernel.z,
        ) * params.dilation.xyz;
        // The input place whose window has this tap here, if it is a whole number inside the input.
        if any(at > reach) {
            continue;
        }
        let place = (reach - at) / params.stride.xyz;
        if any(place * params.stride.xyz != reach - at) || any(place >= size.xyz) {
            continue;
        }
        for (var channel = 0u; channel < params.group_channels; channel++) {
            let c = first + channel;
            let x = (((image * params.channels + c) * size.x + place.x) * size.y + place.y) * size.z + place.z;
            let w = (c * params.group_filters + filter_ % params.group_filters) * taps + tap;
            sum += weight[w] * input[x];
        }
    }
    if HAS_BIAS {
        sum += bias[filter_];
    }
    output[i] = activate(sum);
}
