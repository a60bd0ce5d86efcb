// The mean of each row and 1 / sqrt(variance + epsilon): one workgroup per row, for long rows.

struct Params {
    rows: u32,
    length: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> inverse: array<f32>;

const GROUP = 256u;

var<workgroup> partial: array<f32, GROUP>;

// The sum of all invocations' terms, in a fixed order.
fn total(local: u32, term: f32) -> f32 {
    partial[local] = term;
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            partial[local] += partial[local + half];
        }
    }
    workgroupBarrier();
    let sum = partial[0];
    workgroupBarrier();
    return sum;
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_group(group, groups);
    if row >= params.rows {
        return;
    }
    let start = row * params.length;
    let end = start + params.length;
    let count = f32(params.length);
    var term = 0.0;
    for (var i = start + local; i < end; i += GROUP) {
        term += input[i];
    }
    let m = total(local, term) / count;
    term = 0.0;
    for (var i = start + local; i < end; i += GROUP) {
        term += (input[i] - m) * (input[i] - m);
    }
    let squares = total(local, term);
    if local == 0u {
        mean[row] = m;
        inverse[row] = 1.0 / sqrt(squares / count + params.epsilon);
    }
}
