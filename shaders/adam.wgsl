// A step of Adam, or with DECOUPLED of AdamW.

struct Params {
    count: u32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read> first: array<f32>;
@group(0) @binding(4) var<storage, read> second: array<f32>;
// The learning rate, and what the moments are multiplied by.
@group(0) @binding(5) var<storage, read> rates: array<f32>;
@group(0) @binding(6) var<storage, read_write> new_weights: array<f32>;
@group(0) @binding(7) var<storage, read_write> new_first: array<f32>;
@group(0) @binding(8) var<storage, read_write> new_second: array<f32>;

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
    var w = weights[i];
    var d = gradient[i];
    if DECOUPLED {
        w -= rates[0] * params.weight_decay * w;
    } else {
        d += params.weight_decay * w;
    }
    let m = params.beta1 * first[i] + (1.0 - params.beta1) * d;
    let v = params.beta2 * second[i] + (1.0 - params.beta2) * d * d;
    new_first[i] = m;
    new_second[i] = v;
    new_weights[i] = w - rates[0] * (rates[1] * m) / (sqrt(rates[2] * v) + params.epsilon);
}
