//! What every vertex may carry besides its operation.

use std::collections::BTreeMap;

use proto::pb::{ExportCache, LinuxResources, OpMetadata, Platform, ProgressGroup};

/// Description key under which progress output finds the name to show.
pub(super) const CUSTOM_NAME: &str = "llb.customname";

/// Options common to all operations.
///
/// `platform` and `worker_filters` are part of the vertex, hence of its digest; `metadata`
/// accompanies the vertex and is not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Constraints {
    /// Platform to run for; `None` is [`super::platform::host`]. Operations whose result does not
    /// depend on it (everything but exec, build and image sources) ignore it.
    pub platform: Option<Platform>,
    /// Which workers may run the vertex, in containerd's filter syntax; all must match.
    pub worker_filters: Vec<String>,
    /// Metadata. Required capabilities are added by the builders.
    pub metadata: OpMetadata,
}

impl Constraints {
    /// Constraints with the given platform and nothing else.
    #[must_use]
    pub fn on(platform: Platform) -> Self {
        Self {
            platform: Some(platform),
            ..Self::default()
        }
    }

    /// Sets the platform.
    #[must_use]
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Adds a worker filter.
    #[must_use]
    pub fn worker_filter(mut self, filter: impl Into<String>) -> Self {
        self.worker_filters.push(filter.into());
        self
    }

    /// Sets the name that progress output shows.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.described(CUSTOM_NAME, name)
    }

    /// Adds an entry to the description.
    #[must_use]
    pub fn described(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.description.insert(key.into(), value.into());
        self
    }

    /// Runs the vertex even when the cache has a result.
    #[must_use]
    pub fn ignore_cache(mut self) -> Self {
        self.metadata.ignore_cache = true;
        self
    }

    /// Says whether an exported cache contains the vertex.
    #[must_use]
    pub fn export_cache(mut self, export: bool) -> Self {
        self.metadata.export_cache = Some(ExportCache { value: export });
        self
    }

    /// Shows the vertex together with the others of the same group.
    #[must_use]
    pub fn progress_group(
        mut self,
        id: impl Into<String>,
        name: impl Into<String>,
        weak: bool,
    ) -> Self {
        self.metadata.progress_group = Some(ProgressGroup {
            id: id.into(),
            name: name.into(),
            weak,
        });
        self
    }

    /// Limits the resources of an exec, outside of its cache key.
    #[must_use]
    pub fn linux_resources(mut self, resources: LinuxResources) -> Self {
        self.metadata.linux_resources = Some(resources);
        self
    }

    /// The same, requiring further capabilities.
    pub(super) fn requiring(mut self, caps: impl IntoIterator<Item = &'static str>) -> Self {
        self.metadata
            .caps
            .extend(caps.into_iter().map(|cap| (cap.to_owned(), true)));
        self
    }
}

/// Adds `more` to `base`; where both say something, `more` wins.
pub(super) fn merge_metadata(base: &mut OpMetadata, more: &OpMetadata) {
    fn extend<V: Clone>(base: &mut BTreeMap<String, V>, more: &BTreeMap<String, V>) {
        base.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    base.ignore_cache |= more.ignore_cache;
    extend(&mut base.description, &more.description);
    extend(&mut base.caps, &more.caps);
    if more.export_cache.is_some() {
        base.export_cache = more.export_cache;
    }
    if more.progress_group.is_some() {
        base.progress_group.clone_from(&more.progress_group);
    }
    if more.linux_resources.is_some() {
        base.linux_resources.clone_from(&more.linux_resources);
    }
}
