//! When a slot is there (SPEC §6.6).

use crate::json::words;

/// When a slot is extracted, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Into the cache, before the first start.
    Runtime,
    /// Into the cache, before the first start, ahead of every `runtime` slot.
    Eager,
    /// Into the cache, when the application or a person asks for it.
    Lazy,
    /// Never at a start: for people who look into the package.
    Dev,
    /// As `runtime`, on its own platform only.
    Platform,
    /// Into the work environment, for the setup alone.
    #[cfg(feature = "workenv")]
    Init,
    /// Into the work environment, anew at every start.
    #[cfg(feature = "workenv")]
    Startup,
    /// Into a directory for this start alone, after the application has ended.
    #[cfg(feature = "workenv")]
    Shutdown,
    /// Into the work environment, whenever it is not there.
    #[cfg(feature = "workenv")]
    Cache,
    /// Into a directory for this start alone.
    #[cfg(feature = "workenv")]
    Temporary,
    /// Into the work environment, once.
    #[cfg(feature = "workenv")]
    Config,
}

#[cfg(not(feature = "workenv"))]
words!(Lifecycle { Runtime, Eager, Lazy, Dev, Platform });
#[cfg(feature = "workenv")]
words!(Lifecycle { Runtime, Eager, Lazy, Dev, Platform, Init, Startup, Shutdown, Cache, Temporary, Config });

/// When a command is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// In the setup, before the first start.
    #[cfg(feature = "workenv")]
    Setup,
    /// At a start.
    Start,
    /// When the application has ended.
    #[cfg(feature = "workenv")]
    End,
}

impl Lifecycle {
    /// Code in the slot table.
    pub fn code(self) -> u8 {
        match self {
            Self::Runtime => 2,
            Self::Lazy => 6,
            Self::Eager => 7,
            Self::Dev => 8,
            Self::Platform => 10,
            #[cfg(feature = "workenv")]
            Self::Init => 0,
            #[cfg(feature = "workenv")]
            Self::Startup => 1,
            #[cfg(feature = "workenv")]
            Self::Shutdown => 3,
            #[cfg(feature = "workenv")]
            Self::Cache => 4,
            #[cfg(feature = "workenv")]
            Self::Temporary => 5,
            #[cfg(feature = "workenv")]
            Self::Config => 9,
        }
    }

    /// The word in the metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Eager => "eager",
            Self::Lazy => "lazy",
            Self::Dev => "dev",
            Self::Platform => "platform",
            #[cfg(feature = "workenv")]
            Self::Init => "init",
            #[cfg(feature = "workenv")]
            Self::Startup => "startup",
            #[cfg(feature = "workenv")]
            Self::Shutdown => "shutdown",
            #[cfg(feature = "workenv")]
            Self::Cache => "cache",
            #[cfg(feature = "workenv")]
            Self::Temporary => "temporary",
            #[cfg(feature = "workenv")]
            Self::Config => "config",
        }
    }

    /// Why a slot is not there at this moment; `None` where it is.
    pub fn absence(self, moment: Moment) -> Option<&'static str> {
        match (self, moment) {
            (Self::Lazy, _) => Some("it names a lazy slot, which is not there at the start"),
            (Self::Dev, _) => Some("it names a dev slot, which is not there at the start"),
            #[cfg(feature = "workenv")]
            (Self::Init, Moment::Start | Moment::End) => {
                Some("it names an init slot, which is there for the setup alone")
            }
            #[cfg(feature = "workenv")]
            (Self::Startup | Self::Temporary, Moment::Setup) => {
                Some("it names a startup or temporary slot, which is not there before a start")
            }
            #[cfg(feature = "workenv")]
            (Self::Shutdown, Moment::Setup | Moment::Start) => {
                Some("it names a shutdown slot, which is not there before the end")
            }
            _ => None,
        }
    }
}
