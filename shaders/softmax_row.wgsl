// Softmax or its logarithm: one invocation per row, along any axis.

struct Params {
    // Rows, elements of each, and the step in elements between them.
    rows: u32,
    length: u32,
    step: u32,
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
    let row = linear_group(group, groups) * GROUP + local;
    if row >= params.rows {
        return;
    }
    let start = row / params.step * params.step * params.length + row % params.step;
    let end = start + params.step * params.length;

    // A NaN that the maximum misses is met again in the sum.
    var largest = input[start];
    for (var i = start; i < end; i += params.step) {
        largest = select(largest, input[i], input[i] > largest);
    }
    var sum = 0.0;
    for (var i = start; i < end; i += params.step) {
        sum += exp(input[i] - largest);
    }
    for (var i = start; i < end; i += params.step) {
        let x = input[i] - largest;
        if LOG {
            output[i] = x - log(sum);
        } else {
            output[i] = exp(x) / sum;
        }
    }
}
