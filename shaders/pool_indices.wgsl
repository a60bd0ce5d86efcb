// The second output of max pooling: where each maximum was found.

@group(0) @binding(3) var<storage, read_write> indices: array<u32>;

fn store_index(i: u32, index: u32) {
    indices[i] = index;
}
