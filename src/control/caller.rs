//! On whose behalf an operation is applied.

/// On whose behalf an operation is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Local,
}

impl Caller {
    /// The embedder itself, who may do everything.
    pub fn local() -> Self {
        Self(Kind::Local)
    }
}
