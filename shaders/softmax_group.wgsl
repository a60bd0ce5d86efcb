// Softmax or its logarithm: one workgroup per row, along the last axis.

struct Params {
    // Rows, elements of each, and the step in elements between them, which is 1.
    rows: u32,
    length: u32,
    step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

const GROUP = 256u;

var<workgroup> partial: array<f32, GROUP>;

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

    // Invocations without an element of their own repeat the last. A NaN that the maximum misses is met again in the
    // sum.
    var largest = input[start + min(local, params.length - 1u)];
    for (var i = start + local; i < end; i += GROUP) {
        largest = select(largest, input[i], input[i] > largest);
    }
    partial[local] = largest;
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            let other = partial[local + half];
            partial[local] = select(partial[local], other, other > partial[local]);
        }
    }
    workgroupBarrier();
    largest = partial[0];
    workgroupBarrier();

    var sum = 0.0;
    for (var i = start + local; i < end; i += GROUP) {
        sum += exp(input[i] - largest);
    }
    partial[local] = sum;
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            partial[local] += partial[local + half];
        }
    }
    workgroupBarrier();
    sum = partial[0];

    for (var i = start + local; i < end; i += GROUP) {
        let x = input[i] - largest;
        if LOG {
            output[i] = x - log(sum);
        } else {
            output[i] = exp(x) / sum;
        }
    }
}
