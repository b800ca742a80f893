//! The log: where it goes, and what may be changed about it while pgshunt runs.

use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::snapshot::{LogFormat, LogSettings};

/// A log that has been started.
#[derive(Clone)]
pub struct Log {
    change: Arc<dyn Fn(EnvFilter) + Send + Sync>,
    /// `PGSHUNT_LOG` says what is logged, whatever the configuration says.
    is_fixed: bool,
}

impl Log {
    /// Starts it on standard error. `PGSHUNT_LOG` wins over the configured level.
    ///
    /// # Errors
    /// What stands in `PGSHUNT_LOG` can't be understood.
    pub fn start(settings: &LogSettings) -> Result<Log, ParseError> {
        let wanted = std::env::var("PGSHUNT_LOG")
            .ok()
            .filter(|wanted| !wanted.is_empty());
        let filter = EnvFilter::builder().parse(wanted.as_deref().unwrap_or(settings.level.word()))?;
        let log = tracing_subscriber::fmt()
            .with_target(false)
            .with_writer(std::io::stderr)
            .with_env_filter(filter);
        // A second subscriber in one process would be refused; the first one stays, which is as good. That a filter
        // can't be changed any more means that nothing is logged any more.
        let change: Arc<dyn Fn(EnvFilter) + Send + Sync> = match settings.format {
            LogFormat::Text => {
                let log = log.with_filter_reloading();
                let handle = log.reload_handle();
                let _ = log.try_init();
                Arc::new(move |filter| drop(handle.reload(filter)))
            }
            LogFormat::Json => {
                let log = log.json().flatten_event(true).with_filter_reloading();
                let handle = log.reload_handle();
                let _ = log.try_init();
                Arc::new(move |filter| drop(handle.reload(filter)))
            }
        };
        Ok(Log {
            change,
            is_fixed: wanted.is_some(),
        })
    }

    /// Logs what the configuration wants logged now.
    pub fn follow(&self, settings: &LogSettings) {
        if !self.is_fixed
            && let Ok(filter) = EnvFilter::builder().parse(settings.level.word())
        {
            (self.change)(filter);
        }
    }
}
