// The weights of a tap, where all eight invocations of a workgroup need the same and are one subgroup: each reads a texel of
// eight, and has the others from its neighbours.

const FETCHES = (FILTERS + 1u) / 2u;
var<private> fetched: array<vec4<f32>, FETCHES>;

fn fetch(w: u32, lane: u32) {
    for (var n = 0u; n < FETCHES; n++) {
        fetched[n] = textureLoad(weight, texel_at(w + n * 8u + lane));
    }
}

// Those of the f-th texel of filters, whose block starts at this texel: a column per channel, a row per filter.
fn weights_of(w: u32, f: u32) -> mat4x4<f32> {
    let mine = fetched[f / 2u];
    if f % 2u == 0u {
        return mat4x4(
            subgroupBroadcast(mine, 0u),
            subgroupBroadcast(mine, 1u),
            subgroupBroadcast(mine, 2u),
            subgroupBroadcast(mine, 3u),
        );
    }
    return mat4x4(
        subgroupBroadcast(mine, 4u),
        subgroupBroadcast(mine, 5u),
        subgroupBroadcast(mine, 6u),
        subgroupBroadcast(mine, 7u),
    );
}
