// A step of gradient descent with momentum.

struct Params {
    count: u32,
    momentum: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read> velocity: array<f32>;
@group(0) @binding(4) var<storage, read> rate: array<f32>;
@group(0) @binding(5) var<storage, read_write> new_weights: array<f32>;
@group(0) @binding(6) var<storage, read_write> new_velocity: array<f32>;

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
    let w = weights[i];
    let d = gradient[i] + params.weight_decay * w;
    let v = params.momentum * velocity[i] + d;
    let direction = select(v, d + params.momentum * v, NESTEROV);
    new_velocity[i] = v;
    new_weights[i] = w - rate[0] * direction;
}
