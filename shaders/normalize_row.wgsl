// The mean of each row and 1 / sqrt(variance + epsilon): one invocation per row.

struct Params {
    rows: u32,
    length: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> inverse: array<f32>;

const GROUP = 64u;
// Sums are taken in blocks, so that their error grows with the number of blocks and not with the length.
const BLOCK = 128u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_group(group, groups) * GROUP + local;
    if row >= params.rows {
        return;
    }
    let start = row * params.length;
    let end = start + params.length;
    let count = f32(params.length);
    var sum = 0.0;
    for (var block = start; block < end; block += BLOCK) {
        var part = 0.0;
        for (var i = block; i < min(block + BLOCK, end); i++) {
            part += input[i];
        }
        sum += part;
    }
    let m = sum / count;
    var squares = 0.0;
    for (var block = start; block < end; block += BLOCK) {
        var part = 0.0;
        for (var i = block; i < min(block + BLOCK, end); i++) {
            part += (input[i] - m) * (input[i] - m);
        }
        squares += part;
    }
    mean[row] = m;
    inverse[row] = 1.0 / sqrt(squares / count + params.epsilon);
}
