//! Kernel source: a WGSL file specialised by constants.

use std::fmt::Write;

use crate::ops::Activation;
use crate::winograd::Winograd;

/// A WGSL file and the constants that specialise it: all that a pipeline depends on.
///
/// Binding 0 holds the parameters of a dispatch (a uniform), then follow the buffers it reads and those it writes, all
/// in group 0. The entry point is `main`. Generated lines are appended, so line numbers in compiler messages are those
/// of the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    name: String,
    source: String,
    reads: usize,
    writes: usize,
    subgroups: bool,
    constants: Vec<(String, String)>,
}

impl Kernel {
    /// The kernel of a file, reading and writing so many buffers.
    pub fn new(name: impl Into<String>, wgsl: &str, reads: usize, writes: usize) -> Self {
        Kernel {
            name: name.into(),
            source: wgsl.to_string(),
            reads,
            writes,
            subgroups: false,
            constants: Vec::new(),
        }
    }

    /// Appends a file of shared functions.
    #[must_use]
    pub fn with(mut self, wgsl: &str) -> Self {
        self.source.push_str(wgsl);
        self
    }

    /// Says that the kernel exchanges values within subgroups, which not every device can.
    #[must_use]
    pub fn subgroups(mut self) -> Self {
        self.subgroups = true;
        self
    }

    /// Appends `const NAME = VALUEu;`.
    #[must_use]
    pub fn constant(mut self, name: &str, value: usize) -> Self {
        let _ = writeln!(self.source, "const {name} = {value}u;");
        self.note(name, value)
    }

    /// Appends `const NAME = true;` or false.
    #[must_use]
    pub fn flag(mut self, name: &str, value: bool) -> Self {
        let _ = writeln!(self.source, "const {name} = {value};");
        self.note(name, value)
    }

    /// Appends `const NAME = VALUE;` of type f32, exactly.
    #[must_use]
    pub fn float(mut self, name: &str, value: f32) -> Self {
        let _ = writeln!(self.source, "const {name} = {};", float_literal(value));
        self.note(name, value)
    }

    /// Appends `alias NAME`, the type of what a kernel loads or stores at once, and `const NAME_LANES`, the elements in
    /// that: one, or with `fours` four neighbours.
    #[must_use]
    pub fn lanes(mut self, name: &str, fours: bool) -> Self {
        let _ = writeln!(self.source, "alias {name} = {};", if fours { "vec4<f32>" } else { "f32" });
        let constant = format!("{}_LANES", name.to_uppercase());
        self.constant(&constant, if fours { 4 } else { 1 })
    }

    /// Appends `fn activate(x: f32) -> f32`, and the file with all activations if one is wanted.
    #[must_use]
    pub fn activation(mut self, activation: Option<Activation>) -> Self {
        let Some(activation) = activation else {
            self.source.push_str("fn activate(x: f32) -> f32 { return x; }\n");
            return self;
        };
        self = self.with(include_str!("../../shaders/shared/activation.wgsl"));
        let (name, parameters) = activation.signature();
        let _ = write!(self.source, "fn activate(x: f32) -> f32 {{ return {name}(x");
        for p in parameters {
            let _ = write!(self.source, ", {}", float_literal(p));
        }
        self.source.push_str("); }\n");
        self.note("activation", name)
    }

    /// Appends the transforms of this form along a line, for a kernel that says what `Value` is.
    #[must_use]
    pub(crate) fn winograd(self, form: Winograd) -> Self {
        self.with(match form {
            Winograd::Two => include_str!("../../shaders/shared/winograd_2.wgsl"),
            Winograd::Four => include_str!("../../shaders/shared/winograd_4.wgsl"),
        })
    }

    /// Appends `fn slope(value: f32) -> f32`, the activation's derivative at the value that
    /// [`Activation::gradient_from_output`] says, and the files that it stands in.
    #[must_use]
    pub fn slope(mut self, activation: Activation) -> Self {
        self = self
            .with(include_str!("../../shaders/shared/activation.wgsl"))
            .with(include_str!("../../shaders/shared/activation_gradient.wgsl"));
        let (name, parameters) = activation.signature();
        let of_input = match activation {
            Activation::Elu { .. } | Activation::Selu { .. } if !activation.gradient_from_output() => {
                "input_"
            }
            _ => "",
        };
        let name = name.trim_end_matches('_');
        let _ = write!(self.source, "fn slope(value: f32) -> f32 {{ return {name}_{of_input}slope(value");
        for p in parameters {
            let _ = write!(self.source, ", {}", float_literal(p));
        }
        self.source.push_str("); }\n");
        self.note("slope", name)
    }

    /// Declares these of the buffers it reads, by their number from 0, as `read_write`: WebGPU lets a dispatch read one part
    /// of a buffer and write another where it may write both.
    #[must_use]
    pub fn writable(mut self, reads: &[usize]) -> Self {
        for &read in reads {
            let [read_only, writable] = ["read", "read_write"].map(|access| declaration(read, access));
            self.source = self.source.replacen(&read_only, &writable, 1);
        }
        let names: Vec<_> = reads.iter().map(|read| read.to_string()).collect();
        if names.is_empty() { self } else { self.note("writable", names.join(" ")) }
    }

    /// Whether the buffer that it reads under this number is declared as `read_write`.
    pub fn is_writable(&self, read: usize) -> bool {
        self.source.contains(&declaration(read, "read_write"))
    }

    fn note(mut self, name: &str, value: impl ToString) -> Self {
        self.constants.push((name.into(), value.to_string()));
        self
    }

    /// What specialises it: constants, in the order in which they were given, and an activation.
    pub fn constants(&self) -> &[(String, String)] {
        &self.constants
    }

    /// The kernel's name, the same for all its specialisations.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole WGSL module.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it exchanges values within subgroups.
    pub fn needs_subgroups(&self) -> bool {
        self.subgroups
    }

    /// How many buffers it reads.
    pub fn reads(&self) -> usize {
        self.reads
    }

    /// How many buffers it writes.
    pub fn writes(&self) -> usize {
        self.writes
    }
}

/// How a file declares the buffer that is read under this number.
fn declaration(read: usize, access: &str) -> String {
    format!("@binding({}) var<storage, {access}> ", read + 1)
}

/// A WGSL expression for exactly this value. WGSL has no literals for infinities, and shaders may assume that there are
/// none; the largest finite value takes their place.
fn float_literal(value: f32) -> String {
    let value = if value.is_infinite() { f32::MAX.copysign(value) } else { value };
    format!("bitcast<f32>({}u)", value.to_bits())
}
