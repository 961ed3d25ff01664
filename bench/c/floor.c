// floor ROOTFS CGROUPDIR ID: the kernel work of one container with the default configuration and nothing else:
// the lower bound for a runtime. Needs a writable cgroup v2 directory (bench makes a private view).
// Build: gcc -O2 -static -o floor floor.c
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#define D(x) do{ if((long)(x)<0){fprintf(stderr,"%s: %s\n",#x,strerror(errno));_exit(125);} }while(0)
#ifndef MOUNT_ATTR_RDONLY
#endif
static const char*R;static char buf[512];
static const char*P(const char*p){snprintf(buf,512,"%s%s",R,p);return buf;}
int main(int c,char**v){R=v[1];const char*cg=v[2];char cgp[256];snprintf(cgp,256,"%s/%s",cg,v[3]);
 D(mkdir(cgp,0755));int cfd=open(cgp,O_PATH|O_DIRECTORY|O_CLOEXEC);D(cfd);
 struct clone_args a={.flags=CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWNET|CLONE_NEWCGROUP|CLONE_INTO_CGROUP|CLONE_VFORK|CLONE_VM*0,.exit_signal=SIGCHLD,.cgroup=cfd};
 long p=syscall(SYS_clone3,&a,sizeof a);D(p);
 if(p==0){
  D(mount(0,"/",0,MS_REC|MS_PRIVATE,0));
  D(mount(R,R,0,MS_BIND|MS_REC,0));
  D(mount("proc",P("/proc"),"proc",0,0));
  D(mount("tmpfs",P("/dev"),"tmpfs",MS_NOSUID|MS_STRICTATIME,"mode=755,size=65536k"));
  D(mkdir(P("/dev/pts"),0755));D(mount("devpts",P("/dev/pts"),"devpts",MS_NOSUID|MS_NOEXEC,"newinstance,ptmxmode=0666,mode=0620,gid=5"));
  D(mkdir(P("/dev/shm"),0755));D(mount("shm",P("/dev/shm"),"tmpfs",MS_NOSUID|MS_NOEXEC|MS_NODEV,"mode=1777,size=65536k"));
  D(mkdir(P("/dev/mqueue"),0755));D(mount("mqueue",P("/dev/mqueue"),"mqueue",MS_NOSUID|MS_NOEXEC|MS_NODEV,0));
  D(mount("sysfs",P("/sys"),"sysfs",MS_NOSUID|MS_NOEXEC|MS_NODEV|MS_RDONLY,0));
  D(mount("cgroup2",P("/sys/fs/cgroup"),"cgroup2",MS_NOSUID|MS_NOEXEC|MS_NODEV|MS_RDONLY,0));
  struct{const char*n;int ma,mi;}d[]={{"/dev/null",1,3},{"/dev/zero",1,5},{"/dev/full",1,7},{"/dev/tty",5,0},{"/dev/random",1,8},{"/dev/urandom",1,9}};
  umask(0);for(int i=0;i<6;i++)D(mknod(P(d[i].n),S_IFCHR|0666,makedev(d[i].ma,d[i].mi)));
  D(symlink("/proc/self/fd",P("/dev/fd")));D(symlink("/proc/self/fd/0",P("/dev/stdin")));D(symlink("/proc/self/fd/1",P("/dev/stdout")));D(symlink("/proc/self/fd/2",P("/dev/stderr")));D(symlink("pts/ptmx",P("/dev/ptmx")));
  D(chdir(R));D(syscall(SYS_pivot_root,".","."));D(umount2(".",MNT_DETACH));D(chdir("/"));
  const char*ro[]={"/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"};
  for(int i=0;i<5;i++){if(mount(ro[i],ro[i],0,MS_BIND|MS_REC,0)<0)continue;D(mount(0,ro[i],0,MS_BIND|MS_REMOUNT|MS_RDONLY|MS_NOSUID|MS_NODEV|MS_NOEXEC,0));}
  const char*mk[]={"/proc/kcore","/proc/keys","/proc/timer_list"};for(int i=0;i<3;i++)mount("/dev/null",mk[i],0,MS_BIND,0);
  const char*md[]={"/proc/acpi","/sys/firmware","/proc/scsi"};for(int i=0;i<3;i++)mount("tmpfs",md[i],"tmpfs",MS_RDONLY,0);
  sethostname("floor",5);D(prctl(PR_SET_NO_NEW_PRIVS,1,0,0,0));
  char*av[]={"/bin/true",0},*ev[]={"PATH=/bin",0};execve(av[0],av,ev);_exit(127);}
 int st;D(waitpid(p,&st,0));rmdir(cgp);return st!=0;}
