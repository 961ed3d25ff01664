package bundle

import "github.com/opencontainers/runtime-spec/specs-go"

func checkHooks(c *checker, h *specs.Hooks) {
	checkHookList(c, "hooks.prestart", h.Prestart)
	checkHookList(c, "hooks.createRuntime", h.CreateRuntime)
	checkHookList(c, "hooks.createContainer", h.CreateContainer)
	checkHookList(c, "hooks.startContainer", h.StartContainer)
	checkHookList(c, "hooks.poststart", h.Poststart)
	checkHookList(c, "hooks.poststop", h.Poststop)
}

// checkHookList: both rules are a MUST of config § POSIX-platform Hooks. runc
// runs a hook with a relative path, found from wherever it is at that time,
// and takes a timeout of 0 for one that has passed.
func checkHookList(c *checker, path string, hooks []specs.Hook) {
	for i := range hooks {
		hook := &hooks[i]
		switch {
		case hook.Path == "":
			c.Addf(at(path, i, "path"), "required")
		case hook.Path[0] != '/':
			c.Addf(at(path, i, "path"), "%s is not an absolute path", quote(hook.Path))
		default:
			checkNUL(c, at(path, i, "path"), hook.Path)
		}
		if hook.Timeout != nil && *hook.Timeout <= 0 {
			c.Addf(at(path, i, "timeout"), "%d is not above 0", *hook.Timeout)
		}
		checkEachNUL(c, hook.Args, path, i, "args")
		checkEachNUL(c, hook.Env, path, i, "env")
	}
}
