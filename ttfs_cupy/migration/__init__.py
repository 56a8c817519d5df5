"""Coming from other frameworks: what their keys are called here, and T2FSNN's config as one of ours."""
