// Max, average or Lp pooling: an invocation computes four neighbours of an output row, and what they see in common is read
// once.

@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<Stored>;

const GROUP = 64u;

// What adds nothing.
fn outside() -> f32 {
    return select(0.0, params.lowest, KIND == MAX);
}

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
    let size = params.input_size.xyz;
    let out = params.output_size.xyz;
    let across = (out.z + 3u) / 4u;
    let position = vec3(i / (across * out.y) % out.x, i / across % out.y, i % across * 4u);
    let plane = i / (across * out.y * out.x);

    // The taps on the input are those from `first` up to `last`; along the row, those beside it are `outside`.
    let start = position * params.stride.xyz;
    let before = params.before.xyz;
    let first = taps_before(before, start);
    let last = taps_before(before + size, start);
    var results = vec4(outside());
    for (var d = first.x; d < last.x; d += 1u) {
        for (var h = first.y; h < last.y; h += 1u) {
            let at = start.xy + vec2(d, h) * params.dilation.xy - before.xy;
            let row = Row(
                ((plane * size.x + at.x) * size.y + at.y) * size.z,
                size.z,
                i32(start.z) - i32(before.z),
            );
            var window = Window();
            for (var w = 0u; w < KERNEL_WIDTH; w++) {
                window = slide(window, row, w);
                let x = window.last;
                if KIND == MAX {
                    // The first of equals wins, and a NaN over numbers.
                    let wins = (x > results) | (is_nan4(x) & !is_nan4(results));
                    results = select(results, x, wins);
                } else {
                    results += vec4(term(x.x), term(x.y), term(x.z), term(x.w));
                }
            }
        }
    }
    if KIND != MAX {
        for (var j = 0u; j < 4u; j++) {
            results[j] = finish(results[j], start + vec3(0u, 0u, j * params.stride.z));
        }
    }
    store4(((plane * out.x + position.x) * out.y + position.y) * out.z + position.z, out.z - position.z, results);
}
