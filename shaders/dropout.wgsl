// output[i] = 0 where element i is dropped, else x[i] * scale

struct Params {
    count: u32,
    // Hashes below it drop their element.
    threshold: u32,
    seed: vec2<u32>,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

const GROUP = 64u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    if i < params.count {
        let dropped = pcg4d(vec4(i, step[0], params.seed)) < params.threshold;
        output[i] = select(x[i] * params.scale, 0.0, dropped);
    }
}

// The first word of the hash of four words (Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020).
fn pcg4d(words: vec4<u32>) -> u32 {
    var v = words * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4(16u);
    return v.x + v.y * v.w;
}
