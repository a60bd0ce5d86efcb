// Reduction: one workgroup of GROUP invocations per output, which read one element at a time or four neighbours.

var<workgroup> partial: array<f32, GROUP>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups);
    if i >= params.count {
        return;
    }
    if params.length == 0u {
        if local == 0u {
            output[i] = params.empty;
        }
        return;
    }
    let start = offset(i, params.kept, params.kept_steps);
    var shift = 0.0;
    if KIND == LOG_SUM_EXP {
        shift = shift_by(reduce(MAX, start, local, 0.0));
    }
    let result = reduce(KIND, start, local, shift);
    if local == 0u {
        output[i] = finish(KIND, result, shift);
    }
}

// The result, to all invocations.
fn reduce(kind: u32, start: u32, local: u32, shift: f32) -> f32 {
    var mine = initial(kind, first_of(input[start / VALUE_LANES]));
    for (var i = local * VALUE_LANES; i < params.length; i += GROUP * VALUE_LANES) {
        mine = fold(kind, mine, input[(start + element(i)) / VALUE_LANES], shift);
    }
    partial[local] = mine;
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            partial[local] = combine(kind, partial[local], partial[local + half]);
        }
    }
    workgroupBarrier();
    let result = partial[0];
    workgroupBarrier();
    return result;
}

// Where element i of those reduced is, from the first.
fn element(i: u32) -> u32 {
    if ONE_AXIS {
        return i * params.reduced_steps.w;
    }
    return offset(i, params.reduced, params.reduced_steps);
}
