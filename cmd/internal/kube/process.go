package kube

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// process is one component that runs.
type process struct {
	name string
	pid  int
	log  string
	done chan struct{}
	err  error // the end of the process, after done is closed
}

// startProcess starts a command in its own process group. When this process ends, the kernel kills that
// command: a test that panics or times out leaves nothing.
func startProcess(name, binary string, args []string, log string) (*process, error) {
	out, err := os.OpenFile(filepath.Clean(log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, log: log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel kills the process with the thread that started it. So this thread waits for the end of
		// the process, and ends with this goroutine.
		runtime.LockOSThread()
		defer close(p.done)
		defer func() { _ = out.Close() }() // the component has its own copy
		//nolint:gosec,noctx // the binary that deploy/kube/build made; it ends by kill
		cmd := exec.Command(binary, args...)
		cmd.Stdout, cmd.Stderr = out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// ended returns nil while the process runs, and afterwards an error with the end of the log.
func (p *process) ended() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	b, _ := os.ReadFile(p.log) // without the log the error is still true
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	lines = lines[max(0, len(lines)-8):]
	return fmt.Errorf("%s has ended: %w\n%s", p.name, errors.Join(p.err), bytes.Join(lines, []byte("\n")))
}

// kill ends the process and its children, and waits for the end.
func (p *process) kill() {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.pid, syscall.SIGKILL) // the process may have ended meanwhile
		<-p.done
	}
}
