//! What every definition of a schema says about itself, and the setters that all builders share.

/// Documentation and warnings of one definition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    /// Markdown.
    pub(crate) doc: String,
    /// Why it should not be used any more.
    pub(crate) deprecated: Option<String>,
    /// Why it may change without notice.
    pub(crate) experimental: Option<String>,
}

/// Gives a builder with a `description` the setter `doc`.
macro_rules! documented {
    ($($builder:ty),+) => { $(
        impl $builder {
            /// Documentation in Markdown.
            #[must_use]
            pub fn doc(mut self, text: &str) -> Self {
                text.clone_into(&mut self.description.doc);
                self
            }
        }
    )+ };
}

/// Gives a builder with a `description` all its setters.
macro_rules! described {
    ($($builder:ty),+) => { $(
        crate::schema::description::documented!($builder);

        impl $builder {
            /// Marks it deprecated, for the reason given.
            #[must_use]
            pub fn deprecated(mut self, reason: &str) -> Self {
                self.description.deprecated = Some(reason.to_owned());
                self
            }

            /// Marks it experimental: it may change without notice, for the reason given.
            #[must_use]
            pub fn experimental(mut self, reason: &str) -> Self {
                self.description.experimental = Some(reason.to_owned());
                self
            }
        }
    )+ };
}

pub(super) use {described, documented};
